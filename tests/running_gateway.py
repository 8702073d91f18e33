"""A gateway in a thread of the tests' own process."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from typing import Any

from deepfake_triton.gateway.server import Listening, serve
from deepfake_triton.gateway.settings import GatewaySettings

_STOP_S = 90


@contextmanager
def running_gateway(settings: GatewaySettings, start_timeout_s: float = 60.0) -> Iterator[Listening]:
    """Run a gateway in a thread, and stop it at the end. Raises what serve() raises."""
    ready: Future[tuple[Listening, asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    async def run() -> None:
        stop, loop = asyncio.Event(), asyncio.get_running_loop()
        await serve(settings, lambda listening: ready.set_result((listening, loop, stop)), stop=stop)

    with ThreadPoolExecutor(1, "gateway-loop") as threads:
        ended = threads.submit(asyncio.run, run())
        futures: tuple[Future[Any], ...] = (ready, ended)
        wait(futures, start_timeout_s, FIRST_COMPLETED)
        if ended.done():
            ended.result()
        listening, loop, stop = ready.result(0)
        try:
            yield listening
        finally:
            with suppress(RuntimeError):  # its loop has ended already
                loop.call_soon_threadsafe(stop.set)
            ended.result(settings.grace_s + _STOP_S)

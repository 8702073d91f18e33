"""The calls of one detection that are on their way, also when nobody waits for their answers any more."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from concurrent.futures import Future
from typing import Any


class CallsInFlight:
    """Calls that a canceled `AsyncDeepfakeClient.detect` may leave behind: they end by themselves.

    >>> calls = CallsInFlight()
    >>> task = asyncio.create_task(client.detect(video, calls=calls))  # doctest: +SKIP
    >>> task.cancel(); await calls.drained()  # doctest: +SKIP
    """

    def __init__(self) -> None:
        self._replies: set[Future[Any]] = set()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """Return the number of calls on their way."""
        with self._lock:
            return len(self._replies)

    def add(self, reply: Future[Any]) -> None:
        """Add a call that was started; `reply` is done when it has ended."""
        with self._lock:
            self._replies.add(reply)
        reply.add_done_callback(self._discard)

    async def drained(self) -> None:
        """Wait until every call has ended; none is canceled."""
        while pending := self._pending():
            await asyncio.gather(*(wait_for_future(reply, None) for reply in pending))

    def _pending(self) -> tuple[Future[Any], ...]:
        with self._lock:
            return tuple(reply for reply in self._replies if not reply.done())

    def _discard(self, reply: Future[Any]) -> None:
        with self._lock:
            self._replies.discard(reply)


async def wait_for_future(future: Future[Any], timeout_s: float | None) -> None:
    """Wait for a future that another thread ends, and leave it as it is when this task is cancelled."""
    loop = asyncio.get_running_loop()
    end = loop.create_future()

    def tell(_: Future[Any]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop was closed, and nobody waits
            loop.call_soon_threadsafe(_finish, end)

    future.add_done_callback(tell)
    await asyncio.wait((end,), timeout=timeout_s)


def _finish(end: asyncio.Future[None]) -> None:
    if not end.done():
        end.set_result(None)

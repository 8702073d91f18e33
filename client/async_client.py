"""`AsyncDeepfakeClient`: the same for asyncio."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Sequence
from contextlib import closing
from types import TracebackType
from typing import Any, TypeVar

from deepfake_triton.client.attempts import RetryPolicy
from deepfake_triton.client.client import finalizer_of
from deepfake_triton.client.connection_options import ConnectionOptions
from deepfake_triton.client.evidence import EvidenceRule
from deepfake_triton.client.exchange import Exchange
from deepfake_triton.client.rules import (
    DEFAULT_TIMEOUT_S,
    DEFAULT_URL,
    WINDOWS_IN_FLIGHT,
    ClientRules,
    Video,
    WindowAnswer,
)
from deepfake_triton.client.steps import Flow, Pause, Wait
from deepfake_triton.client.transport import Transport
from deepfake_triton.client.verdict import FaceVerdict, ModelInfo, VideoVerdict
from deepfake_triton.contracts import JPEG_QUALITY
from deepfake_triton.preprocessing.sampling import FrameSelection
from deepfake_triton.preprocessing.video import FrameBatch

T = TypeVar("T")


class AsyncDeepfakeClient:
    """`DeepfakeClient` with methods to await, in any event loop. Videos are decoded in threads.

    A task that is cancelled ends at once; its request goes on, as for DeepfakeClient, and keeps its place in
    `max_in_flight` until it has ended.
    """

    def __init__(
        self,
        url: str | Sequence[str] = DEFAULT_URL,
        *,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        operating_point: str | None = None,
        retry: RetryPolicy = RetryPolicy(),  # noqa: B008 - frozen
        connection: ConnectionOptions = ConnectionOptions(),  # noqa: B008 - frozen
        max_in_flight: int | None = None,
        evidence: EvidenceRule = EvidenceRule(),  # noqa: B008 - frozen
        transport: Transport = Transport.AUTO,
        jpeg_quality: int = JPEG_QUALITY,
    ) -> None:
        """See DeepfakeClient."""
        self._rules = ClientRules(
            url,
            timeout_s=timeout_s,
            operating_point=operating_point,
            retry=retry,
            connection=connection,
            max_in_flight=max_in_flight,
            evidence=evidence,
            transport=transport,
            jpeg_quality=jpeg_quality,
        )
        self._exchange = Exchange(self._rules)
        self._finalizer = finalizer_of(self, self._exchange)

    async def detect(self, video: Video, selection: FrameSelection | None = None) -> VideoVerdict:
        """See DeepfakeClient.detect."""
        judgement = self._rules.judgement(video, selection)
        asking: deque[asyncio.Task[WindowAnswer]] = deque()
        try:
            while (window := await asyncio.to_thread(judgement.next_window)) is not None:
                flow = self._exchange.window(window, judgement.deadline)
                asking.append(asyncio.create_task(await_flow(flow)))
                if len(asking) == WINDOWS_IN_FLIGHT:
                    judgement.add(await asking.popleft())
            while asking:
                judgement.add(await asking.popleft())
            return judgement.verdict()
        finally:
            for task in asking:
                task.cancel()
            await asyncio.gather(*asking, return_exceptions=True)
            await asyncio.to_thread(judgement.close)

    async def faces(self, frames: FrameBatch, timeout_s: float | None = None) -> tuple[FaceVerdict, ...]:
        """See DeepfakeClient.faces."""
        return await await_flow(self._exchange.faces(frames, self._rules.deadline(timeout_s)))

    async def model(self, timeout_s: float | None = None) -> ModelInfo:
        """See DeepfakeClient.model."""
        return await await_flow(self._exchange.model(self._rules.deadline(timeout_s)))

    @property
    def known_model(self) -> ModelInfo | None:
        """The model that answered last, if one did."""
        return self._rules.models.last

    async def close(self) -> None:
        """See DeepfakeClient.close."""
        self._finalizer.detach()
        await await_flow(self._exchange.close())

    async def __aenter__(self) -> AsyncDeepfakeClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


async def await_flow(flow: Flow[T]) -> T:
    """Carry a flow out in this task. Raises what the flow raises."""
    with closing(flow):
        try:
            step = next(flow)
            while True:
                step = flow.send(await _waited(step))
        except StopIteration as end:
            result: T = end.value
            return result


async def _waited(step: Wait | Pause) -> bool:
    if isinstance(step, Pause):
        await asyncio.sleep(step.seconds)
        return True
    loop = asyncio.get_running_loop()
    ends = [loop.create_future() for _ in step.futures]
    for future, end in zip(step.futures, ends, strict=True):

        def tell(_: Any, end: asyncio.Future[None] = end) -> None:
            with contextlib.suppress(RuntimeError):  # the loop was closed, and nobody waits
                loop.call_soon_threadsafe(_finish, end)

        future.add_done_callback(tell)
    if ends:
        await asyncio.wait(ends, timeout=step.timeout_s)
    return all(future.done() for future in step.futures)


def _finish(end: asyncio.Future[None]) -> None:
    if not end.done():
        end.set_result(None)

"""`AsyncDeepfakeClient`: the same client for asyncio."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import closing
from types import TracebackType

from deepfake_triton.client.core import ClientCore
from deepfake_triton.client.progress import DetectionProgress
from deepfake_triton.client.protocol.exchange import WindowAnswer
from deepfake_triton.client.sending.calls_in_flight import CallsInFlight
from deepfake_triton.client.sending.senders import await_flow
from deepfake_triton.client.verdicts.verdict import FaceVerdict, ModelInfo, VideoVerdict
from deepfake_triton.client.video_session import Video, clip_faces
from deepfake_triton.preprocessing.video.frame_batch import FrameBatch
from deepfake_triton.preprocessing.video.sampling import FrameSelection


class AsyncDeepfakeClient(ClientCore):
    """`DeepfakeClient` with methods to await, in any event loop. Videos are decoded in threads.

    A task that is cancelled ends at once; its request goes on, as for DeepfakeClient, and keeps its slot of
    `max_in_flight` until it has ended.
    """

    async def detect(
        self,
        video: Video,
        selection: FrameSelection | None = None,
        *,
        operating_point: str | None = None,
        on_progress: Callable[[DetectionProgress], None] | None = None,
        calls: CallsInFlight | None = None,
    ) -> VideoVerdict:
        """Decode frames of a video, send them to a server, and return the verdict; see
        DeepfakeClient.detect.

        A task that is canceled sends no further window. Calls on their way end by themselves; `calls` knows
        them, so that a caller can wait for their end.
        """
        report = on_progress or (lambda _: None)
        session = self._session(video, selection)
        pending: deque[asyncio.Task[WindowAnswer]] = deque()
        try:
            while (window := await asyncio.to_thread(session.next_window)) is not None:
                report(session.decode_progress(window))
                flow = self._exchange.detect_window(window, session.deadline, operating_point)
                pending.append(asyncio.create_task(await_flow(flow, self._connections, calls)))
                if session.is_full:
                    report(await asyncio.to_thread(session.add, await pending.popleft()))
            while pending:
                report(await asyncio.to_thread(session.add, await pending.popleft()))
            return await asyncio.to_thread(session.verdict)
        finally:
            for task in pending:
                task.cancel()
            await asyncio.gather(*pending, return_exceptions=True)
            await asyncio.to_thread(session.close)

    async def faces(self, frames: FrameBatch, timeout_s: float | None = None) -> tuple[FaceVerdict, ...]:
        """Return the faces of a clip that is decoded already; see DeepfakeClient.faces."""
        flow = self._exchange.detect_faces(frames, self._exchange.deadline(timeout_s))
        answer = await await_flow(flow, self._connections)
        return await asyncio.to_thread(clip_faces, frames, answer)

    async def model(self, timeout_s: float | None = None) -> ModelInfo:
        """Return the model that answers, checked against the contract; see DeepfakeClient.model."""
        return await await_flow(
            self._exchange.read_model(self._exchange.deadline(timeout_s)), self._connections
        )

    async def close(self) -> None:
        """Wait a few seconds at most for requests on their way, unregister shared memory, and close the
        connections. May be repeated."""
        self._finalizer.detach()
        if self._connections.begin_close():
            with closing(self._connections):
                await await_flow(self._exchange.close(), self._connections)

    async def __aenter__(self) -> AsyncDeepfakeClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

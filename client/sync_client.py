"""`DeepfakeClient`: verdicts from servers over gRPC, for threads that wait."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from contextvars import copy_context
from types import TracebackType

from deepfake_triton.client.core import ClientCore
from deepfake_triton.client.progress import DetectionProgress
from deepfake_triton.client.protocol.exchange import WindowAnswer
from deepfake_triton.client.sending.senders import run_flow
from deepfake_triton.client.verdicts.verdict import FaceVerdict, ModelInfo, VideoVerdict
from deepfake_triton.client.video_session import WINDOWS_IN_FLIGHT, Video, clip_faces
from deepfake_triton.preprocessing.video.frame_batch import FrameBatch
from deepfake_triton.preprocessing.video.sampling import FrameSelection


class DeepfakeClient(ClientCore):
    """Client of one server or several, tried round-robin, with failover. Usable from many threads and as a
    context manager.

    A caller that stops waiting does not cancel its request: Triton before 2.57 may crash when requests are
    cancelled, so on such a server the call ends by itself, and its answer is dropped.
    """

    def detect(  # noqa: PLR0917 - public
        self,
        video: Video,
        selection: FrameSelection | None = None,
        on_stage: Callable[[str], None] | None = None,
        on_window: Callable[[int, int], None] | None = None,
        *,
        operating_point: str | None = None,
        on_progress: Callable[[DetectionProgress], None] | None = None,
    ) -> VideoVerdict:
        """Decode frames of a video, send them to a server, and return the verdict.

        Windows are decoded while the ones before are on their way.

        Args:
            video: A path, an open binary file that can seek, decoded frames, or windows decoded elsewhere
                (WindowSource), for which `selection` counts no more.
            selection: Frames to decode; None: a window at the start.
            on_stage: Called with "decode" and "infer" when that stage begins for a window.
            on_window: Called with the number of windows that are answered, and of all windows.
            operating_point: Name of the thresholds for this video; None: the client's.
            on_progress: Called for each window when it is decoded and when it is judged.

        Raises:
            InputError: The video cannot be read; InvalidOption when the model has no such operating point.
            ServerError: No server answered as it should.
        """
        enter, count = on_stage or (lambda _: None), on_window or (lambda *_: None)
        report = on_progress or (lambda _: None)
        session = self._session(video, selection)
        pending: deque[Future[WindowAnswer]] = deque()

        def take_answer() -> None:
            report(session.add(pending.popleft().result()))
            count(session.windows_answered, session.num_windows)

        with closing(session), self._window_threads() as (pool, stopped):
            while True:
                enter("decode")
                window = session.next_window()
                if window is None:
                    break
                report(session.decode_progress(window))
                enter("infer")
                flow = self._exchange.detect_window(window, session.deadline, operating_point)
                context = copy_context()  # of traces
                pending.append(pool.submit(context.run, run_flow, flow, self._connections, stopped))
                count(session.windows_answered, session.num_windows)
                if session.is_full:
                    take_answer()
            count(session.windows_answered, session.num_windows)
            while pending:
                take_answer()
            return session.verdict()

    def faces(self, frames: FrameBatch, timeout_s: float | None = None) -> tuple[FaceVerdict, ...]:
        """Return the faces of a clip that is decoded already, each with its probability.

        Args:
            frames: RGB frames and their times.
            timeout_s: Time-out of this request; None: the client's.

        Raises:
            ServerError: No server answered as it should.
        """
        flow = self._exchange.detect_faces(frames, self._exchange.deadline(timeout_s))
        return clip_faces(frames, run_flow(flow, self._connections))

    def model(self, timeout_s: float | None = None) -> ModelInfo:
        """Return the model that answers, checked against the contract.

        It is read again after an error, and when what is known is older than a server takes to restart.

        Args:
            timeout_s: Time-out of this request; None: the client's.

        Raises:
            ServerError: No server answered as it should; ContractMismatch when it serves another model.
        """
        return run_flow(self._exchange.read_model(self._exchange.deadline(timeout_s)), self._connections)

    def close(self) -> None:
        """Wait a few seconds at most for requests on their way, unregister shared memory, and close the
        connections. May be repeated."""
        self._finalizer.detach()
        if self._connections.begin_close():
            with closing(self._connections):
                run_flow(self._exchange.close(), self._connections)

    def __enter__(self) -> DeepfakeClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @contextmanager
    def _window_threads(self) -> Iterator[tuple[ThreadPoolExecutor, Future[None]]]:
        """Executor for one video, and a future that stops its flows; on error, pending windows are cancelled
        without waiting."""
        pool, stopped = ThreadPoolExecutor(WINDOWS_IN_FLIGHT, "deepfake-windows"), Future[None]()
        try:
            yield pool, stopped
        finally:
            stopped.set_result(None)
            pool.shutdown(wait=False, cancel_futures=True)

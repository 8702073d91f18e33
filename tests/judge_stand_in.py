"""Stand-ins for the client and the decoders of a gateway, for tests of its queue."""

from __future__ import annotations

import asyncio
import hashlib
import io
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import BinaryIO

from deepfake_triton.client.progress import DetectionProgress
from deepfake_triton.client.sending.calls_in_flight import CallsInFlight, wait_for_future
from deepfake_triton.client.verdicts.verdict import Latency, ModelInfo, Verdict, VideoVerdict
from deepfake_triton.gateway.uploads.spool import Upload
from deepfake_triton.preprocessing.video.frame_batch import FrameBatch
from deepfake_triton.preprocessing.video.sampling import FrameSelection
from deepfake_triton.preprocessing.video.window_source import WindowSource

MODEL = ModelInfo("deepfake_detection", "1", "default", "0" * 64, 0.5)


def upload_of(content: bytes = b"a video", name: str = "clip.mp4") -> Upload:
    """An upload that holds these bytes, in memory."""
    return Upload(io.BytesIO(content), name, len(content), hashlib.sha256(content).hexdigest())


class VideoStandIn:
    """A video of some windows, none of which anybody looks at."""

    fault: str | None = None
    duration_seconds = 1.0

    def __init__(self, name: str, num_windows: int) -> None:
        self.name = name
        self.num_expected = num_windows
        self.was_stopped = self.was_closed = False

    def __iter__(self) -> Iterator[FrameBatch]:
        raise AssertionError("the stand-in of the client asks for no frames")

    def stop(self) -> None:
        """Remember it."""
        self.was_stopped = True

    def close(self) -> None:
        """Remember it."""
        assert self.was_stopped, "closing would wait for the process"
        self.was_closed = True


class DecodersStandIn:
    """Opens any upload as a video of `num_windows`, or raises `error`."""

    def __init__(self, num_windows: int = 2) -> None:
        self.num_windows = num_windows
        self.error: Exception | None = None
        self.videos: list[VideoStandIn] = []
        self.preview: asyncio.Future[BinaryIO | None] | None = None

    def open_video(self, upload: Upload, selection: FrameSelection, timeout_s: float) -> VideoStandIn:
        """Return a video that remembers what is done to it."""
        if self.error:
            raise self.error
        assert not upload.file.closed
        self.videos.append(VideoStandIn(upload.name, self.num_windows))
        return self.videos[-1]

    async def make_preview(self, upload: Upload) -> BinaryIO | None:
        """Return what the test sets as the preview, once it is set."""
        assert self.preview is not None
        return await self.preview


class JudgeStandIn:
    """Asks one call for each window; with `is_held`, a call ends when the test says `answer()`.

    Attributes:
        asked: Names of the videos in the order of their calls.
        replies: The calls that have not ended.
    """

    def __init__(self, *, is_held: bool = False) -> None:
        self.is_held = is_held
        self.error: Exception | None = None
        self.asked: list[str] = []
        self.replies: list[Future[None]] = []

    def answer(self) -> None:
        """End the oldest call."""
        self.replies.pop(0).set_result(None)

    async def detect(
        self,
        video: WindowSource,
        selection: FrameSelection | None = None,
        *,
        operating_point: str | None = None,
        on_progress: Callable[[DetectionProgress], None] | None = None,
        calls: CallsInFlight | None = None,
    ) -> VideoVerdict:
        """Ask for one window after the other, as AsyncDeepfakeClient does with real ones."""
        assert on_progress and calls is not None
        total = video.num_expected
        for index in range(total):
            span = (0.5 * index, 0.5 * index + 0.5)
            on_progress(DetectionProgress(index + 1, index, total, None, *span))
            self.asked.append(video.name)
            reply: Future[None] = Future()
            calls.add(reply)
            self.replies.append(reply)
            if not self.is_held:
                self.answer()
            await wait_for_future(reply, None)
            if self.error:
                raise self.error
            on_progress(DetectionProgress(index + 1, index + 1, total, (), *span))
        return VideoVerdict(
            video.name, Verdict.INCONCLUSIVE, None, "no_face", (), MODEL, 4 * total, 1.0, Latency(1, 1, 2)
        )

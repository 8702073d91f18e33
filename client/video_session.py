"""One video on its way to a verdict: windows out, answers in."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from deepfake_triton.client.progress import DetectionProgress
from deepfake_triton.client.protocol.exchange import WindowAnswer
from deepfake_triton.client.verdicts.assembly import faces_from_answer, verdict_from_faces
from deepfake_triton.client.verdicts.people import PersonLinker
from deepfake_triton.client.verdicts.quality_gate import EvidenceRule
from deepfake_triton.client.verdicts.verdict import FaceVerdict, Latency, ModelInfo, VideoVerdict
from deepfake_triton.client.wire.requests import ClipAnswer
from deepfake_triton.client.wire.tracing import span
from deepfake_triton.preprocessing.video.frame_batch import FrameBatch
from deepfake_triton.preprocessing.video.sampling import FrameSelection
from deepfake_triton.preprocessing.video.window_source import WindowSource

WINDOWS_IN_FLIGHT = 2
"""Windows of one video that are sent while the next one is decoded; no more are in memory."""

Video = str | Path | BinaryIO | FrameBatch | WindowSource
"""A path, an open file that can seek, frames that are decoded already, or windows decoded elsewhere."""


class VideoSession:
    """One video, from its first window to its verdict; `deadline` is by time.monotonic().

    Windows are decoded by `next_window`, and their answers are given back, in the same order, to `add`.
    """

    def __init__(
        self, video: Video, selection: FrameSelection, *, timeout_s: float, evidence: EvidenceRule
    ) -> None:
        self._started = time.monotonic()
        self.deadline = self._started + timeout_s
        self._evidence = evidence
        self._source = _source_of(video, selection, timeout_s=timeout_s)
        self._name = self._source.name
        self._windows = iter(self._source)
        self._reading = threading.Lock()
        self._people = PersonLinker()
        self._model: ModelInfo | None = None
        self._frames_decoded = self._windows_decoded = 0
        self.windows_answered = 0
        self._faces_left_out = 0
        self._decode_s = self._infer_s = 0.0

    def next_window(self) -> FrameBatch | None:
        """Decode the next window; None after the last one. Raises InputError, or DeadlineExceeded."""
        began = time.monotonic()
        with self._reading, span("decode", video=self._name):
            window = next(self._windows, None)
        self._decode_s += time.monotonic() - began
        if window is not None:
            self._frames_decoded += len(window)
            self._windows_decoded += 1
        return window

    def decode_progress(self, window: FrameBatch) -> DetectionProgress:
        """Return the report that a window was decoded."""
        return self._progress(window, None)

    def add(self, answer: WindowAnswer) -> DetectionProgress:
        """Add the answer on the first window that has none yet; its faces are measured and cut out here.
        Return the report that it was judged."""
        began = time.monotonic()
        faces = clip_faces(answer.frames, answer.clip)
        self._infer_s += answer.infer_s + time.monotonic() - began
        self._people.add(faces)
        self.windows_answered += 1
        self._model = answer.model
        self._faces_left_out = max(self._faces_left_out, answer.clip.faces_left_out)
        return self._progress(answer.frames, faces)

    @property
    def is_full(self) -> bool:
        """Whether an answer must be added before the next window is decoded."""
        return self._windows_decoded - self.windows_answered == WINDOWS_IN_FLIGHT

    @property
    def num_windows(self) -> int:
        """Expected number of windows, as far as it is known once the first was decoded."""
        return self._source.num_expected

    def verdict(self) -> VideoVerdict:
        """Return the verdict, after the last answer."""
        assert self._model is not None, "no video is without a window"
        total_s = time.monotonic() - self._started
        verdict = verdict_from_faces(
            self._name,
            self._people.verdicts(),
            self._model,
            evidence=self._evidence,
            frames_decoded=self._frames_decoded,
            duration_seconds=self._source.duration_seconds,
            latency_ms=Latency(1000 * self._decode_s, 1000 * self._infer_s, 1000 * total_s),
            fault=self._source.fault,
            faces_left_out=self._faces_left_out,
            num_windows=self.windows_answered,
        )
        return replace(verdict, content_credentials=getattr(self._source, "content_credentials", None))

    def _progress(self, window: FrameBatch, faces: tuple[FaceVerdict, ...] | None) -> DetectionProgress:
        return DetectionProgress(
            windows_decoded=self._windows_decoded,
            windows_judged=self.windows_answered,
            num_windows=max(self.num_windows, self._windows_decoded),
            faces=faces,
            start_seconds=float(window.pts_seconds[0]),
            end_seconds=window.end_seconds,
        )

    def close(self) -> None:
        """Close the file, once nobody reads it."""
        with self._reading:
            if isinstance(self._windows, Generator):
                self._windows.close()


def clip_faces(frames: FrameBatch, answer: ClipAnswer) -> tuple[FaceVerdict, ...]:
    """Return the faces of a clip by the server's answer on it."""
    return faces_from_answer(frames, answer.fake_probability, boxes=answer.boxes, observed=answer.observed)


class _OneBatch:
    """Frames that are decoded already, as a video of one window."""

    name = "(frames)"
    fault: str | None = None
    num_expected = 1

    def __init__(self, frames: FrameBatch) -> None:
        self.frames = frames
        self.duration_seconds = frames.end_seconds

    def __iter__(self) -> Iterator[FrameBatch]:
        return iter((self.frames,))


def _source_of(video: Video, selection: FrameSelection, *, timeout_s: float) -> WindowSource:
    """Return the windows of a video."""
    if isinstance(video, FrameBatch):
        return _OneBatch(video)
    if isinstance(video, WindowSource):
        return video
    from deepfake_triton.preprocessing.video.windows import VideoWindows  # needs PyAV, which arrays do not

    return VideoWindows(video, selection, timeout_s=timeout_s)

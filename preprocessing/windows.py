"""Stretches of a video one after another, in one pass that leaps over what lies between them."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO

import av.error
import numpy as np
import numpy.typing as npt

from deepfake_triton.errors import VideoUndecodable
from deepfake_triton.preprocessing.pictures import Scaler
from deepfake_triton.preprocessing.reader import MediaFile, VideoReader, opened
from deepfake_triton.preprocessing.sampling import FrameSelection, window_starts
from deepfake_triton.preprocessing.video import FrameBatch, decode_clip, fault_of

_SHORTEST_LEAP_SECONDS = 0.5
"""Nearer than this, decoding is always cheaper than seeking."""
_SEEKS_EARLIER_SECONDS = (0.0, 5.0)
"""Some files index decoding times, and a seek then arrives late."""


class VideoWindows:
    """The chosen frames of a video as an iterator of FrameBatch, one at a time in memory.

    Once it has ended, `duration_seconds` is the video's, and `fault` says what was wrong with the file where
    only a part of it could be used. Iterating raises what `decode_clip` raises.
    """

    def __init__(
        self, video: str | Path | BinaryIO, selection: FrameSelection, *, timeout_s: float | None = None
    ) -> None:
        self.duration_seconds = 0.0
        self.fault: str | None = None
        self._video, self._selection = video, selection
        self._deadline = None if timeout_s is None else time.monotonic() + timeout_s
        self._timeout_s = timeout_s

    def __iter__(self) -> Iterator[FrameBatch]:
        if not self._selection.has_windows:
            clip = decode_clip(self._video, self._selection, timeout_s=self._timeout_s)
            self.duration_seconds, self.fault = clip.duration_seconds, clip.fault
            yield clip.frames
            return
        with opened(self._video) as media, _Passage(media, self._deadline) as passage:
            yield from self._windows(passage, media)

    def _windows(self, passage: _Passage, media: MediaFile) -> Iterator[FrameBatch]:
        size = self._selection.num_frames
        duration = passage.duration_seconds()
        first = passage.window(0.0, size)
        if first is not None:
            yield first
            begin_seconds = float(first.pts_seconds[0])
            frame_seconds = (first.end_seconds - begin_seconds) / len(first)
            for start in window_starts(self._selection, duration - begin_seconds, frame_seconds)[1:]:
                window = None if passage.ended else passage.window(begin_seconds + start, size)
                if window is not None and 2 * len(window) >= size:
                    yield window
        self.duration_seconds = max(duration, passage.end_seconds)
        end_seconds = passage.end_seconds if passage.ended else None
        self.fault = fault_of(passage.reader, media.missing_bytes, end_seconds)
        if first is None:
            raise VideoUndecodable(
                f"{media.path}: not one frame can be used: {self.fault or 'it holds none'}"
            )


class _Passage:
    """A video from front to back. `ended` once there are no more frames; the last one seen went at
    `end_seconds`."""

    def __init__(self, media: MediaFile, deadline: float | None) -> None:
        self._media, self._deadline = media, deadline
        self._open = ExitStack()
        self._leap_seconds = _SHORTEST_LEAP_SECONDS
        self._scaler: Scaler | None = None
        self._used_until = -math.inf
        self.ended = False
        self.end_seconds = 0.0

    def __enter__(self) -> _Passage:
        self._begin()
        return self

    def __exit__(self, *exception: object) -> None:
        self._open.close()

    def duration_seconds(self) -> float:
        """What the file claims, or, when it claims nothing, where its packets end."""
        claimed = self.reader.claimed_seconds or self.reader.file_seconds
        if claimed:
            return claimed
        with self._media.reader(self._deadline) as reader:
            count, end_seconds = reader.frame_count_and_end()
        self._begin()  # both read the one file
        return max(end_seconds, count * self.reader.frame_seconds)

    def window(self, start_seconds: float, num_frames: int) -> FrameBatch | None:
        """The next `num_frames` frames, from the first that is shown at `start_seconds` or later and was in
        no window before; fewer at the video's end, None behind it."""
        self._scaler = self._scaler or Scaler(self.reader.pixel_aspect)
        pictures: list[npt.NDArray[np.uint8]] = []
        times: list[float] = []
        for frame, begin in self._from(start_seconds):
            try:
                pictures.append(self._scaler.picture(frame))
            except (av.error.FFmpegError, ValueError) as error:
                self.reader.note(f"frames that cannot become RGB ({error})")
                continue
            times.append(begin)
            self._used_until = begin
            if len(pictures) == num_frames:
                break
        else:
            self.ended = True
        return FrameBatch(np.stack(pictures), np.asarray(times), self.end_seconds) if pictures else None

    def _begin(self) -> None:
        self._open.close()
        self.reader: VideoReader = self._open.enter_context(self._media.reader(self._deadline))
        self._frames = self.reader.frames()
        self._shown_at: float | None = None

    def _from(self, start_seconds: float) -> Iterator[tuple[Any, float]]:
        """Unused frames shown at `start_seconds` or later, each with when it appears."""
        noted = list(self.reader.faults)
        if start_seconds - (self._shown_at or 0.0) > self._leap_seconds:
            self._leap(start_seconds)
        earliest = start_seconds - self.reader.frame_seconds / 2
        arrived = False
        for frame in self._frames:
            self._shown_at, self.end_seconds = self.reader.shown(frame, after=self._shown_at)
            if self._shown_at < earliest or self._shown_at <= self._used_until:
                continue
            if not arrived:  # what a decoder misses just behind a seek is no fault of the file
                self.reader.faults[:] = noted
                arrived = True
            yield frame, self._shown_at

    def _leap(self, start_seconds: float) -> None:
        """Go on from a key frame before `start_seconds`, or, where the file does not lead there, from its
        front."""
        came_from = self._shown_at or 0.0
        for earlier_seconds in _SEEKS_EARLIER_SECONDS:
            landed_at = self._land(start_seconds - earlier_seconds)
            if landed_at is not None and landed_at <= start_seconds + self.reader.frame_seconds / 2:
                if landed_at <= came_from:
                    self._leap_seconds *= 2  # key frames are rarer than that
                return
        self._leap_seconds = math.inf
        self._begin()

    def _land(self, seconds: float) -> float | None:
        try:
            self.reader.seek(max(0.0, seconds))
        except (av.error.FFmpegError, OverflowError):
            return None
        frames = self.reader.frames()
        first = next(frames, None)
        if first is None or first.pts is None:
            return None
        self._frames = itertools.chain([first], frames)
        return self.reader.shown(first, after=None)[0]

"""Decode windows of a video in a single forward pass, seeking over the gaps between them."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

import av.error

from deepfake_triton.errors import VideoUndecodable
from deepfake_triton.preprocessing.decoding.decoded_frame import DecodedFrame
from deepfake_triton.preprocessing.decoding.reader import VideoReader
from deepfake_triton.preprocessing.decoding.scaling import Scaler
from deepfake_triton.preprocessing.decoding.timestamps import Extent
from deepfake_triton.preprocessing.media.file_objects import display_name
from deepfake_triton.preprocessing.media.media_file import MediaFile, open_media
from deepfake_triton.preprocessing.video.clip import decode_clip, describe_faults, measure_extent
from deepfake_triton.preprocessing.video.frame_batch import FrameBatch
from deepfake_triton.preprocessing.video.sampling import FrameSelection, window_starts
from deepfake_triton.preprocessing.video.scaled_batch import scale_batch

_MIN_SEEK_SECONDS = 0.5
"""Minimum gap to seek across; decoding a shorter one is always cheaper."""
_SEEK_MARGINS_SECONDS = (0.0, 5.0)
"""Margins by which to seek before the target: some files index decoding times, and a seek arrives late."""


class VideoWindows:
    """The selected frames of a video as an iterator of FrameBatch, one at a time in memory.

    Each batch has its own frame size where the video changes it. `name` is that of the file. `num_expected`
    is the number of windows, known from the first one on. After the last one, `duration_seconds` is the
    video's, and `fault` describes what was wrong with a file of which only a part could be decoded. Iterating
    raises what `decode_clip` raises.
    """

    def __init__(
        self, video: str | Path | BinaryIO, selection: FrameSelection, *, timeout_s: float | None = None
    ) -> None:
        self.name = str(video if isinstance(video, str | Path) else display_name(video))
        self.duration_seconds = 0.0
        self.fault: str | None = None
        self.num_expected = 1
        self._video, self._selection = video, selection
        self._deadline = None if timeout_s is None else time.monotonic() + timeout_s
        self._timeout_s = timeout_s

    def __iter__(self) -> Iterator[FrameBatch]:
        if not self._selection.has_windows:
            clip = decode_clip(self._video, self._selection, timeout_s=self._timeout_s)
            self.duration_seconds, self.fault = clip.duration_seconds, clip.fault
            yield clip.frames
            return
        with open_media(self._video) as media, ForwardDecoder(media, self._deadline) as decoder:
            yield from self._windows(decoder, media)

    def _windows(self, decoder: ForwardDecoder, media: MediaFile) -> Iterator[FrameBatch]:
        size = self._selection.num_frames
        duration = decoder.duration_seconds()
        first = decoder.decode_window(0.0, size)
        if first is not None:
            begin_seconds = float(first.pts_seconds[0])
            frame_seconds = (first.end_seconds - begin_seconds) / len(first)
            starts = window_starts(self._selection, duration - begin_seconds, frame_seconds)
            self.num_expected = len(starts)
            yield first
            for start in starts[1:]:
                window = None if decoder.is_at_end else decoder.decode_window(begin_seconds + start, size)
                if window is not None and 2 * len(window) >= size:
                    yield window
        self.duration_seconds = max(duration, decoder.end_seconds)
        end_seconds = decoder.end_seconds if decoder.is_at_end else None
        self.fault = describe_faults(decoder.reader, media.missing_bytes, end_seconds)
        if first is None:
            raise VideoUndecodable(
                f"{media.path}: not one frame can be used: {self.fault or 'it holds none'}"
            )


class ForwardDecoder:
    """Decoder of rising positions in one video, each frame at most once.

    `is_at_end` once there are no more frames; `end_seconds` is when the display of the last decoded one ends.
    """

    def __init__(self, media: MediaFile, deadline: float | None) -> None:
        self._media, self._deadline = media, deadline
        self._open_reader = ExitStack()
        self._min_seek_seconds = _MIN_SEEK_SECONDS
        self._scaler: Scaler | None = None
        self._returned_until = -math.inf
        self.is_at_end = False
        self.end_seconds = 0.0

    def __enter__(self) -> ForwardDecoder:
        self._rewind()
        return self

    def __exit__(self, *exception: object) -> None:
        self._open_reader.close()

    def duration_seconds(self) -> float:
        """Return the duration that the file claims; where it claims none, the end of its packets."""
        claimed = self.reader.claimed_extent
        if claimed is None:
            estimate = Extent(self.reader.file_seconds)
            claimed = measure_extent(self._media, self._deadline) or estimate
            self._rewind()  # both read the same file
        if not claimed.is_continuous:
            self._min_seek_seconds = math.inf  # a seek by time would arrive anywhere
        return claimed.end_seconds

    def decode_window(self, start_seconds: float, num_frames: int) -> FrameBatch | None:
        """Decode the next `num_frames` frames displayed at `start_seconds` or later and in no window before.

        Fewer at the end of the video; None behind it.
        """
        self._scaler = self._scaler or Scaler(self.reader.pixel_aspect)
        faults = list(self.reader.faults)
        if start_seconds - (self._position_seconds or 0.0) > self._min_seek_seconds:
            self._seek_to(start_seconds)
        frames = self._frames_from(start_seconds, faults)
        window, self.is_at_end = scale_batch(frames, num_frames, scaler=self._scaler, reader=self.reader)
        if window is not None:
            self._returned_until = float(window.pts_seconds[-1])
        return window

    def _rewind(self) -> None:
        self._open_reader.close()
        self.reader: VideoReader = self._open_reader.enter_context(self._media.reader(self._deadline))
        self._frames = self.reader.frames()
        self._position_seconds: float | None = None

    def _frames_from(self, start_seconds: float, faults_before: list[str]) -> Iterator[DecodedFrame]:
        """Yield the frames displayed at `start_seconds` or later that no window has returned."""
        earliest = start_seconds - self.reader.frame_seconds / 2
        has_arrived = False
        for frame in self._frames:
            self._position_seconds, self.end_seconds = frame.begin_seconds, frame.end_seconds
            if frame.begin_seconds < earliest or frame.begin_seconds <= self._returned_until:
                continue
            if not has_arrived:  # what a decoder misses just behind a seek is no fault of the file
                self.reader.faults[:] = faults_before
                has_arrived = True
            yield frame

    def _seek_to(self, start_seconds: float) -> None:
        """Continue at a key frame before `start_seconds`; from the start where no seek arrives there."""
        before = self._position_seconds or 0.0
        for margin_seconds in _SEEK_MARGINS_SECONDS:
            arrived_at = self._seek_and_decode(start_seconds - margin_seconds)
            if arrived_at is not None and arrived_at <= start_seconds + self.reader.frame_seconds / 2:
                if arrived_at <= before:
                    self._min_seek_seconds *= 2  # key frames are rarer than that
                return
        self._min_seek_seconds = math.inf
        self._rewind()

    def _seek_and_decode(self, seconds: float) -> float | None:
        """Seek, decode one frame, and return when it is displayed; None where there is none or no time."""
        try:
            self.reader.seek(max(0.0, seconds))
        except (av.error.FFmpegError, OverflowError):
            return None
        frames = self.reader.frames()
        first = next(frames, None)
        if first is None or first.frame.pts is None:
            return None
        self._frames = itertools.chain([first], frames)
        return first.begin_seconds

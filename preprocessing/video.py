"""Video files to the frames that are judged."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import av.error
import numpy as np
import numpy.typing as npt

from deepfake_triton.errors import InvalidFrames, VideoUndecodable
from deepfake_triton.preprocessing.clip_size import require_clip_size
from deepfake_triton.preprocessing.pictures import Scaler
from deepfake_triton.preprocessing.reader import VideoReader, opened
from deepfake_triton.preprocessing.sampling import FrameSelection, Sampling, uniform_indices

EARLY_END_SECONDS = 1.0
"""A video stream whose frames run out this long before the end that it claims was cut."""


@dataclass(frozen=True)
class FrameBatch:
    """Frames of one clip: `data` [T, H, W, 3] uint8 RGB, and for each its time on the video's clock.

    `pts_seconds` [T] float64 rises; `end_seconds` is when the last frame stops being shown.
    Raises InvalidFrames when the shapes do not belong together, or exceed what a server takes.
    """

    data: npt.NDArray[np.uint8]
    pts_seconds: npt.NDArray[np.float64]
    end_seconds: float

    def __post_init__(self) -> None:
        fits = self.data.ndim == 4 and self.data.shape[3:] == (3,) and self.data.dtype == np.uint8
        if not fits or 0 in self.data.shape or self.pts_seconds.shape != self.data.shape[:1]:
            raise InvalidFrames(
                f"frames: got {self.data.dtype} {list(self.data.shape)} with pts_seconds "
                f"{list(self.pts_seconds.shape)}, expected uint8 [T, H, W, 3] with [T]"
            )
        require_clip_size("frames", *self.data.shape[:3])

    def __len__(self) -> int:
        return len(self.data)


@dataclass(frozen=True)
class DecodedClip:
    """The chosen frames of a video; `duration_seconds` is the whole video's.

    `fault` says in words what was wrong with the file where only a part of it could be used, else None.
    """

    frames: FrameBatch
    duration_seconds: float
    fault: str | None


def decode_clip(
    video: str | Path | BinaryIO, selection: FrameSelection | None = None, *, timeout_s: float | None = None
) -> DecodedClip:
    """Decode the chosen frames of a video, by default the first 20: a path, or an open file that can seek.

    Memory holds the chosen frames and one more, however long the video is. A damaged or cut video gives
    the frames that decode, with `fault` set. Raises VideoNotFound, VideoUnreadable, NotAVideo,
    NoVideoStream, VideoUndecodable when not one frame decodes, or DeadlineExceeded after `timeout_s`.
    """
    selection = selection or FrameSelection()
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    with opened(video) as media:
        wanted, stream_end_seconds = frozenset(range(selection.num_frames)), None
        if selection.sampling is Sampling.UNIFORM:
            with media.reader(deadline) as reader:
                count, stream_end_seconds = reader.frame_count_and_end()
            wanted = frozenset(uniform_indices(count, selection.num_frames))
        with media.reader(deadline) as reader:
            return _decoded(reader, wanted, media.missing_bytes, stream_end_seconds)


def _decoded(
    reader: VideoReader, wanted: frozenset[int], missing_bytes: int, stream_end_seconds: float | None
) -> DecodedClip:
    """The `wanted` frames; `stream_end_seconds` is when the last packet ends, where that is known."""
    pictures: list[npt.NDArray[np.uint8]] = []
    times: list[float] = []
    end_seconds = 0.0
    scaler = Scaler(reader.pixel_aspect)
    for index, frame in enumerate(reader.frames()):
        if index not in wanted:
            continue
        try:
            picture = scaler.picture(frame)
        except (av.error.FFmpegError, ValueError) as error:
            reader.note(f"frames that cannot become RGB ({error})")
            continue
        start, end_seconds = reader.shown(frame, after=times[-1] if times else None)
        pictures.append(picture)
        times.append(start)
        if len(pictures) == len(wanted):
            break
    else:
        stream_end_seconds = stream_end_seconds or end_seconds
    fault = fault_of(reader, missing_bytes, stream_end_seconds)
    if not pictures:
        raise VideoUndecodable(f"{reader.path}: not one frame can be used: {fault or 'it holds none'}")
    batch = FrameBatch(np.stack(pictures), np.asarray(times), end_seconds)
    duration = reader.claimed_seconds or reader.file_seconds or 0.0
    return DecodedClip(batch, max(duration, end_seconds), fault)


def fault_of(reader: VideoReader, missing_bytes: int, stream_end_seconds: float | None) -> str | None:
    """What is wrong with a file that was read; its frames end at `stream_end_seconds` (None: unknown)."""
    if missing_bytes:
        return f"{missing_bytes} bytes are missing at its end"
    if reader.faults:
        return "; ".join(reader.faults)
    claimed = reader.claimed_seconds
    if claimed and stream_end_seconds is not None and claimed > stream_end_seconds + EARLY_END_SECONDS:
        return f"it ends after {stream_end_seconds:.1f} s of {claimed:.1f} s"
    return None

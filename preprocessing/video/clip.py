"""Decode the selected frames of a video file."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from deepfake_triton.errors import DeadlineExceeded, VideoUndecodable
from deepfake_triton.preprocessing.decoding.reader import VideoReader
from deepfake_triton.preprocessing.decoding.scaling import Scaler
from deepfake_triton.preprocessing.decoding.timestamps import Extent
from deepfake_triton.preprocessing.media.media_file import MediaFile, open_media
from deepfake_triton.preprocessing.video.frame_batch import FrameBatch
from deepfake_triton.preprocessing.video.sampling import FrameSelection, Sampling, uniform_indices
from deepfake_triton.preprocessing.video.scaled_batch import scale_batch

EARLY_END_SECONDS = 1.0
"""A video stream whose frames end this long before the duration that it claims was truncated."""


@dataclass(frozen=True)
class DecodedClip:
    """The selected frames of a video; `duration_seconds` is that of the whole video.

    `fault` describes what was wrong with a file of which only a part could be decoded, else None.
    """

    frames: FrameBatch
    duration_seconds: float
    fault: str | None


def decode_clip(
    video: str | Path | BinaryIO, selection: FrameSelection | None = None, *, timeout_s: float | None = None
) -> DecodedClip:
    """Decode the selected frames of a path or an open, seekable file; by default the first 20.

    Memory holds the selected frames and three more, however long the video is; up to 18 more at its start,
    while the order of its timestamps is determined. All have the most common frame size; others are
    letterboxed. A damaged or truncated video gives the frames that decode, with `fault` set. Raises
    VideoNotFound, VideoUnreadable, NotAVideo, NoVideoStream, VideoUndecodable when not one frame decodes, or
    DeadlineExceeded after `timeout_s`.
    """
    selection = selection or FrameSelection()
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    with open_media(video) as media:
        indices, extent = frozenset(range(selection.num_frames)), None
        if selection.sampling is Sampling.UNIFORM:
            with media.reader(deadline) as reader:
                extent = reader.extent()
            indices = frozenset(uniform_indices(extent.num_frames or 0, selection.num_frames))
        with media.reader(deadline) as reader:
            clip = _decode_indices(reader, indices, media.missing_bytes, extent=extent)
            claimed, estimate = reader.claimed_extent or extent, Extent(reader.file_seconds)
        if claimed is None or claimed.end_seconds + EARLY_END_SECONDS < clip.duration_seconds:
            claimed = extent or measure_extent(media, deadline) or estimate
        return replace(clip, duration_seconds=max(claimed.end_seconds, clip.duration_seconds))


def measure_extent(media: MediaFile, deadline: float | None) -> Extent | None:
    """Measure the extent of a file that claims none; None where that takes more than half of the time left,
    since a duration is not worth a verdict."""
    now = time.monotonic()
    limit = None if deadline is None else now + max(0.0, deadline - now) / 2
    try:
        with media.reader(limit) as reader:
            return reader.extent()
    except DeadlineExceeded:
        return None


def _decode_indices(
    reader: VideoReader, indices: frozenset[int], missing_bytes: int, *, extent: Extent | None
) -> DecodedClip:
    """Decode the frames at `indices`; the duration is the end of the last. `extent` is None if unknown."""
    selected = (frame for index, frame in enumerate(reader.frames()) if index in indices)
    batch, is_at_end = scale_batch(selected, len(indices), scaler=Scaler(reader.pixel_aspect), reader=reader)
    end_seconds = batch.end_seconds if batch else 0.0
    stream_end_seconds = extent.end_seconds if extent else end_seconds if is_at_end else None
    fault = describe_faults(reader, missing_bytes, stream_end_seconds)
    if batch is None:
        raise VideoUndecodable(f"{reader.path}: not one frame can be used: {fault or 'it holds none'}")
    return DecodedClip(batch, end_seconds, fault)


def describe_faults(reader: VideoReader, missing_bytes: int, stream_end_seconds: float | None) -> str | None:
    """Describe what is wrong with a file that was read, None if nothing is; its frames end at
    `stream_end_seconds` (None: unknown)."""
    if missing_bytes:
        return f"{missing_bytes} bytes are missing at its end"
    if reader.faults:
        return "; ".join(reader.faults)
    claimed = reader.claimed_end_seconds
    if claimed and stream_end_seconds is not None and claimed > stream_end_seconds + EARLY_END_SECONDS:
        return f"it ends after {stream_end_seconds:.1f} s of {claimed:.1f} s"
    return None

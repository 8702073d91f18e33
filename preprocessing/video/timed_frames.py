"""Read the frames of a video one by one at their own size, for overlays and training data."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from deepfake_triton.arrays import Image
from deepfake_triton.console.progress import stage
from deepfake_triton.preprocessing.decoding.letterbox import letterbox_image
from deepfake_triton.preprocessing.decoding.scaling import Scaler
from deepfake_triton.preprocessing.media.media_file import open_media

MAX_SIDE_PX = 1920


@dataclass(frozen=True)
class TimedFrame:
    """One upright frame, `pixels` [H, W, 3] uint8 RGB, displayed from `pts_seconds` on.

    `own_size` is its (width, height) before letterboxing, in a video whose frame size changes; else None.
    """

    pixels: Image
    pts_seconds: float
    own_size: tuple[int, int] | None = None


def read_frames(path: Path, limit: int | None = None) -> Iterator[TimedFrame]:
    """Yield the frames of a video in display order, at most `limit`; sides over 1920 px are scaled down.

    All have the size of the first frame: later ones of another size are letterboxed. Raises InputError as
    `decode_clip` does.
    """
    with open_media(path) as media, media.reader() as reader:
        scaler, size = Scaler(reader.pixel_aspect, MAX_SIDE_PX), None
        for decoded in islice(reader.frames(), limit):
            image = scaler.to_rgb(decoded)
            own_height, own_width = image.shape[:2]
            size = size or (own_width, own_height)
            yield TimedFrame(letterbox_image(image, *size), decoded.begin_seconds, (own_width, own_height))


def read_frames_with_progress(path: Path, doing: str) -> Iterator[TimedFrame]:
    """Yield what `read_frames` does, and show the progress on a terminal; `doing` names the work."""
    with open_media(path) as media, media.reader() as reader:
        extent = reader.claimed_extent
    with stage(doing, math.ceil(extent.end_seconds) if extent else None, "s of video") as bar:
        for frame in read_frames(path):
            yield frame
            bar.update(done=int(frame.pts_seconds))

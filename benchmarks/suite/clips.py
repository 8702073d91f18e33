"""The clips that benchmarks use: the demo's talking head as a 720p video, and beside itself in frames of
several sizes."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from deepfake_triton.arrays import Image
from deepfake_triton.benchmarks.measure.letterbox import letterbox
from deepfake_triton.client import FrameBatch
from deepfake_triton.contracts import DEFAULT_FRAMES, MAX_FACES
from deepfake_triton.errors import VideoNotFound
from deepfake_triton.export.demo_video import DEMO_CLIP, demo_clip
from deepfake_triton.preprocessing.video.timed_frames import TimedFrame, read_frames
from deepfake_triton.preprocessing.video.writer import write_video

_WIDTH, _HEIGHT = 1280, 720
_FRAMES = 60
_GRAY = 96
_FRAME_RATE = 25


@dataclass(frozen=True)
class MixedKind:
    """A clip of `frames` pictures of `height` by `width` px with so many faces in each."""

    picture: str
    height: int
    width: int
    faces: int = 1
    frames: int = DEFAULT_FRAMES

    @property
    def name(self) -> str:
        """Such as ``16:9, 2 faces, 20 frames``."""
        return f"{self.picture}, {self.faces} face{'s' * (self.faces > 1)}, {self.frames} frames"


MIXED_KINDS = (
    MixedKind("16:9", 360, 640),
    MixedKind("4:3", 480, 640),
    MixedKind("9:16", 640, 360),
    MixedKind("2.39:1", 268, 640),
    MixedKind("1:1", 640, 640),
    MixedKind("2:3", 640, 427),
    MixedKind("16:9, a quarter of the area", 180, 320),
    *(MixedKind("16:9", 360, 640, frames=frames) for frames in (7, 33)),
    *(MixedKind("16:9", 360, 640, faces=faces) for faces in range(2, MAX_FACES + 1)),
)
"""In the order in which they are sent; a server has prepared itself for most of them, not for all."""


@contextmanager
def bench_clip(named: Path | None) -> Iterator[Path]:
    """Yield `named`, or else a 720p clip that exists while the context is open.

    Raises VideoNotFound where the demo's clip is not installed.
    """
    if named is not None:
        yield named
        return
    with bench_video(_WIDTH, _HEIGHT) as path:
        yield path


@contextmanager
def bench_video(width: int, height: int) -> Iterator[Path]:
    """Yield the demo's clip as a video of this size, which exists while the context is open.

    Raises VideoNotFound where the demo's clip is not installed.
    """
    source = _demo_clip()
    with tempfile.TemporaryDirectory(prefix="deepfake-triton-bench-") as folder:
        path = Path(folder) / f"talking-head-{height}p.mp4"
        frames = read_frames(source, _FRAMES)
        write_video(
            path,
            (TimedFrame(letterbox(frame.pixels, width, height), frame.pts_seconds) for frame in frames),
        )
        yield path


def mixed_clips() -> Iterator[tuple[str, FrameBatch]]:
    """Yield the clips of `MIXED_KINDS`, with their names.

    Raises VideoNotFound where the demo's clip is not installed.
    """
    for kind in MIXED_KINDS:
        yield kind.name, frames_of_kind(kind)


def frames_of_kind(kind: MixedKind) -> FrameBatch:
    """Return the frames of such a clip. Raises VideoNotFound where the demo's clip is not installed."""
    source = [frame.pixels for frame in read_frames(_demo_clip(), kind.frames)]
    pictures = [side_by_side(image, kind.height, kind.width, copies=kind.faces) for image in source]
    seconds = np.arange(kind.frames) / _FRAME_RATE
    return FrameBatch(np.stack(pictures), seconds, kind.frames / _FRAME_RATE)


def side_by_side(image: Image, height: int, width: int, *, copies: int) -> Image:
    """Return a gray picture [height, width, 3] with 1 to 8 copies of `image`, in two rows from three on."""
    rows = 1 if copies < 3 else 2
    columns = -(-copies // rows)
    side = min(height // rows, width // columns)
    canvas = np.full((height, width, 3), _GRAY, np.uint8)
    small = cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)
    for copy in range(copies):
        top, left = copy // columns * (height // rows), copy % columns * (width // columns)
        canvas[top : top + side, left : left + side] = small
    return canvas


def _demo_clip() -> Path:
    source = demo_clip()
    if source is None:
        raise VideoNotFound(f"the demo's clip is not installed: {DEMO_CLIP} is missing; name a --video")
    return source

"""The clip that benchmarks use unless another is named: the demo's talking head as a 720p video."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np

from deepfake_triton.arrays import Image
from deepfake_triton.errors import VideoNotFound
from deepfake_triton.export.demo_video import DEMO_CLIP, demo_clip
from deepfake_triton.preprocessing.video.timed_frames import TimedFrame, read_frames
from deepfake_triton.preprocessing.video.writer import write_video

_WIDTH, _HEIGHT = 1280, 720
_FRAMES = 60


@contextmanager
def bench_clip(named: Path | None) -> Iterator[Path]:
    """Yield `named`, or else a 720p clip that exists while the context is open.

    Raises VideoNotFound where the demo's clip is not installed.
    """
    if named is not None:
        yield named
        return
    source = demo_clip()
    if source is None:
        raise VideoNotFound(f"the demo's clip is not installed: {DEMO_CLIP} is missing; name a --video")
    with tempfile.TemporaryDirectory(prefix="deepfake-triton-bench-") as folder:
        path = Path(folder) / "talking-head-720p.mp4"
        frames = read_frames(source, _FRAMES)
        write_video(path, (TimedFrame(_letterbox(frame.pixels), frame.pts_seconds) for frame in frames))
        yield path


def _letterbox(image: Image) -> Image:
    """Enlarge to the full height, on a blurred copy of the image that fills the width."""
    canvas = cv2.GaussianBlur(cv2.resize(image, (_WIDTH, _HEIGHT)), (0, 0), 40)
    width = round(image.shape[1] * _HEIGHT / image.shape[0])
    left = (_WIDTH - width) // 2
    canvas[:, left : left + width] = cv2.resize(image, (width, _HEIGHT), interpolation=cv2.INTER_CUBIC)
    return np.asarray(canvas, np.uint8)

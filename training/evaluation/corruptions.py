"""Corruptions of videos, to measure robustness to compression, scaling, blur and noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from deepfake_triton.arrays import Image
from deepfake_triton.errors import DatasetError
from deepfake_triton.preprocessing.video.timed_frames import TimedFrame, read_frames
from deepfake_triton.preprocessing.video.writer import write_video
from deepfake_triton.training.augmentation.degradations import Degradation, degrade_before_codec
from deepfake_triton.training.forgery.colors import ColorJitter


@dataclass(frozen=True)
class Corruption:
    """Corruption of a video: its steps, in the order they are applied.

    `scale` of both sides, `blur_px` (standard deviation), `noise` (standard deviation in gray levels), then
    H.264 at the constant rate factor `crf`. `name` is a key in reports.
    """

    name: str
    crf: int
    scale: float = 1.0
    blur_px: float = 0.0
    noise: float = 0.0


AS_IS = "as it is"
"""Name of a video without a corruption."""
REENCODED = Corruption(AS_IS, crf=20)
"""Re-encoding of every clip, real or fake, so that codecs do not differ by class."""
CORRUPTIONS = (
    Corruption("h264 crf 23", crf=23),
    Corruption("h264 crf 32", crf=32),
    Corruption("h264 crf 40", crf=40),
    Corruption("half scale", crf=20, scale=0.5),
    Corruption("half scale, crf 32", crf=32, scale=0.5),
    Corruption("blur 1.5 px", crf=20, blur_px=1.5),
    Corruption("noise 8", crf=20, noise=8),
)

COMPRESSED = ("h264 crf 32", "half scale, crf 32")
"""Names of the corruptions that stand for what a video goes through on its way to a user."""


def corruptions_named(names: Sequence[str] | None) -> tuple[Corruption, ...]:
    """Return the corruptions of these names, all of them for None. Raises DatasetError for another name."""
    known = {corruption.name: corruption for corruption in CORRUPTIONS}
    unknown = [name for name in names or () if name not in known]
    if unknown:
        expected = ", ".join(map(repr, known))
        raise DatasetError(f"--degradation: got {', '.join(map(repr, unknown))}, expected one of {expected}")
    return CORRUPTIONS if names is None else tuple(known[name] for name in names)


def write_corrupted_clip(video: Path, output: Path, corruption: Corruption, *, num_frames: int) -> None:
    """Write the first `num_frames` frames of a video with a corruption. Raises InputError."""
    frames = (
        TimedFrame(corrupt_frame(frame.pixels, corruption, index), frame.pts_seconds)
        for index, frame in enumerate(read_frames(video, num_frames))
    )
    write_video(output, frames, crf=corruption.crf)


def corrupt_frame(image: Image, corruption: Corruption, seed: int) -> Image:
    """Apply every step but the codec to `image` [H, W, 3] uint8 RGB; `seed` is that of the noise."""
    degradation = Degradation(
        ColorJitter(), scale=corruption.scale, blur_px=corruption.blur_px, noise=corruption.noise
    )
    return degrade_before_codec(image, degradation, seed)

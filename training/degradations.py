"""What happens to a picture on its way to us, drawn once, and done alike to real and forged."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from deepfake_triton.training.codec import jpeg_round_trip
from deepfake_triton.training.colours import ColourChange, changed_colours, sampled_colour_change

Picture = npt.NDArray[np.uint8]

LOWEST_CRF, HIGHEST_CRF = 18, 39


@dataclass(frozen=True)
class Degradation:
    """`colours`, then `scale` (resolution kept, at most 1), `blur_px` (standard deviation), `noise` (grey
    levels), and a codec: `jpeg_quality` or `h264_crf`, or neither."""

    colours: ColourChange
    scale: float = 1.0
    blur_px: float = 0.0
    noise: float = 0.0
    jpeg_quality: int | None = None
    h264_crf: int | None = None


def sampled_degradation(rng: np.random.Generator, amount: float = 1.0) -> Degradation:
    """Draw one; `amount` (0…1) is the chance of each step against its usual chance."""
    codec = rng.uniform()
    return Degradation(
        colours=sampled_colour_change(rng, 0.8),
        scale=float(rng.uniform(0.4, 1.0)) if rng.uniform() < 0.4 * amount else 1.0,
        blur_px=float(rng.uniform(0.3, 1.6)) if rng.uniform() < 0.25 * amount else 0.0,
        noise=float(rng.uniform(1, 8)) if rng.uniform() < 0.25 * amount else 0.0,
        jpeg_quality=int(rng.integers(40, 96)) if codec < 0.2 * amount else None,
        h264_crf=sampled_crf(rng) if 0.2 * amount <= codec < 0.9 * amount else None,
    )


def sampled_crf(rng: np.random.Generator) -> int:
    """A constant rate factor between that of a careful upload and that of a messenger."""
    return int(rng.integers(LOWEST_CRF, HIGHEST_CRF + 1))


def before_codec(picture: Picture, degradation: Degradation, seed: int) -> Picture:
    """`picture` [H, W, 3] uint8 RGB after all but the codec, at the lower resolution; noise by `seed`."""
    out = changed_colours(picture, degradation.colours)
    if degradation.scale < 1:
        size = [max(16, round(side * degradation.scale)) for side in (out.shape[1], out.shape[0])]
        out = np.asarray(cv2.resize(out, (size[0], size[1]), interpolation=cv2.INTER_AREA), np.uint8)
    if degradation.blur_px:
        out = np.asarray(cv2.GaussianBlur(out, (0, 0), degradation.blur_px), np.uint8)
    if degradation.noise:
        noise = np.random.default_rng(seed).standard_normal(out.shape, np.float32)
        out = np.clip(out + degradation.noise * noise + 0.5, 0, 255).astype(np.uint8)
    return out


def degraded(picture: Picture, degradation: Degradation, seed: int) -> Picture:
    """All of it but H.264, which takes many pictures at once (see `codec`)."""
    out = before_codec(picture, degradation, seed)
    return out if degradation.jpeg_quality is None else jpeg_round_trip(out, degradation.jpeg_quality)

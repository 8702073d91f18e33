"""Image degradations between camera and server, applied to real and fake identically."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from deepfake_triton.arrays import Image
from deepfake_triton.training.augmentation.codec import has_h264, jpeg_round_trip
from deepfake_triton.training.forgery.colors import ColorJitter, apply_color_jitter, sample_color_jitter

LOWEST_CRF, HIGHEST_CRF = 18, 39
LOWEST_JPEG, HIGHEST_JPEG = 40, 95
_JPEG_AT_LOWEST_CRF, _JPEG_AT_HIGHEST_CRF = 85, 20


@dataclass(frozen=True)
class Degradation:
    """Degradation steps, in the order they are applied.

    `color_jitter`, `scale` of both sides (at most 1), `blur_px` (standard deviation), `noise` (standard
    deviation in gray levels), and a codec: `jpeg_quality`, `h264_crf`, or neither.
    """

    color_jitter: ColorJitter
    scale: float = 1.0
    blur_px: float = 0.0
    noise: float = 0.0
    jpeg_quality: int | None = None
    h264_crf: int | None = None


def sample_degradation(rng: np.random.Generator, amount: float = 1.0) -> Degradation:
    """Draw a degradation; `amount` (0…1) scales the probability of each step."""
    codec = rng.uniform()
    return Degradation(
        color_jitter=sample_color_jitter(rng, 0.8),
        scale=float(rng.uniform(0.4, 1.0)) if rng.uniform() < 0.4 * amount else 1.0,
        blur_px=float(rng.uniform(0.3, 1.6)) if rng.uniform() < 0.25 * amount else 0.0,
        noise=float(rng.uniform(1, 8)) if rng.uniform() < 0.25 * amount else 0.0,
        jpeg_quality=sample_jpeg_quality(rng) if codec < 0.2 * amount else None,
        h264_crf=sample_crf(rng) if 0.2 * amount <= codec < 0.9 * amount else None,
    )


def replace_missing_codec(degradation: Degradation) -> Degradation:
    """Return a degradation with JPEG of about the same loss in place of H.264 where there is no encoder."""
    if degradation.h264_crf is None or has_h264():
        return degradation
    share = (degradation.h264_crf - LOWEST_CRF) / (HIGHEST_CRF - LOWEST_CRF)
    quality = round(_JPEG_AT_LOWEST_CRF + share * (_JPEG_AT_HIGHEST_CRF - _JPEG_AT_LOWEST_CRF))
    return replace(degradation, h264_crf=None, jpeg_quality=quality)


def sample_crf(rng: np.random.Generator) -> int:
    """Draw a constant rate factor between that of a careful upload and that of a messenger."""
    return int(rng.integers(LOWEST_CRF, HIGHEST_CRF + 1))


def sample_jpeg_quality(rng: np.random.Generator) -> int:
    """Draw a quality between that of a messenger and that of a camera."""
    return int(rng.integers(LOWEST_JPEG, HIGHEST_JPEG + 1))


def degrade_before_codec(image: Image, degradation: Degradation, seed: int) -> Image:
    """Apply every step but the codec to `image` [H, W, 3] uint8 RGB; `seed` is that of the noise.

    The result has the lower resolution.
    """
    return degrade_alike([image], degradation, seed)[0]


def degrade_alike(images: Sequence[Image], degradation: Degradation, seed: int) -> list[Image]:
    """Apply every step but the codec to images of one size; all get the same noise."""
    out = [apply_color_jitter(image, degradation.color_jitter) for image in images]
    if degradation.scale < 1:
        width, height = (max(16, round(side * degradation.scale)) for side in out[0].shape[1::-1])
        out = [np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)) for image in out]
    if degradation.blur_px:
        out = [np.asarray(cv2.GaussianBlur(image, (0, 0), degradation.blur_px), np.uint8) for image in out]
    if degradation.noise:
        noise = np.random.default_rng(seed).standard_normal(out[0].shape, np.float32)
        noise = degradation.noise * noise + np.float32(0.5)
        out = [np.clip(image + noise, 0, 255).astype(np.uint8) for image in out]
    return out


def degrade(image: Image, degradation: Degradation, seed: int) -> Image:
    """Apply every step but H.264, which takes many images at once (`codec.h264_round_trip`)."""
    return compress(degrade_before_codec(image, degradation, seed), degradation)


def compress(image: Image, degradation: Degradation) -> Image:
    """Apply the JPEG compression of a degradation, if it has one."""
    return image if degradation.jpeg_quality is None else jpeg_round_trip(image, degradation.jpeg_quality)

"""Image degradations between camera and server, applied to real and fake identically."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from deepfake_triton.arrays import Image
from deepfake_triton.training.augmentation.codec import has_h264, jpeg_round_trip
from deepfake_triton.training.augmentation.motion_blur import MotionBlur, blur_motion, sample_motion_blur
from deepfake_triton.training.forgery.colors import ColorJitter, apply_color_jitter, sample_color_jitter

LOWEST_CRF, HIGHEST_CRF = 18, 39
LOWEST_JPEG, HIGHEST_JPEG = 40, 95
HEAVIEST_CRF, HEAVIEST_JPEG = 45, 15
"""Limits where heavy compression is on, in place of the highest rate factor and the lowest quality."""
_JPEG_AT_LOWEST_CRF, _JPEG_AT_HIGHEST_CRF, _LOWEST_REPLACEMENT_JPEG = 85, 20, 8
_SMALLEST_SCALE, _SMALLEST_HEAVY_SCALE = 0.4, 0.25
SMALLEST_SIDE_PX, SMALLEST_CHROMA_PX = 20, 4


@dataclass(frozen=True)
class EarlierCompression:
    """An upload before the last one: scaled by `scale`, JPEG of `jpeg_quality`, and back to the old size."""

    jpeg_quality: int
    scale: float = 1.0


@dataclass(frozen=True)
class Degradation:
    """Degradation steps, in the order they are applied.

    `motion_blur`, `color_jitter`, an `earlier` compression, `scale` of both sides (at most 1), `blur_px`
    (standard deviation), `noise` (standard deviation in gray levels), `chroma_scale`, through which both
    color planes are resampled (1 keeps them), and a codec: `jpeg_quality`, `h264_crf`, or neither.
    """

    color_jitter: ColorJitter
    scale: float = 1.0
    blur_px: float = 0.0
    noise: float = 0.0
    jpeg_quality: int | None = None
    h264_crf: int | None = None
    motion_blur: MotionBlur | None = None
    earlier: EarlierCompression | None = None
    chroma_scale: float = 1.0


def sample_degradation(
    rng: np.random.Generator,
    amount: float = 1.0,
    *,
    heavy_compression: bool = False,
    motion_blur: bool = False,
) -> Degradation:
    """Draw a degradation; `amount` (0…1) scales the probability of each step.

    `heavy_compression` allows lower qualities and scales, an earlier compression and blurred colors. What is
    switched off draws no random number.
    """
    codec = rng.uniform()
    smallest = _SMALLEST_HEAVY_SCALE if heavy_compression else _SMALLEST_SCALE
    drawn = Degradation(
        color_jitter=sample_color_jitter(rng, 0.8),
        scale=float(rng.uniform(smallest, 1.0)) if rng.uniform() < 0.4 * amount else 1.0,
        blur_px=float(rng.uniform(0.3, 1.6)) if rng.uniform() < 0.25 * amount else 0.0,
        noise=float(rng.uniform(1, 8)) if rng.uniform() < 0.25 * amount else 0.0,
        jpeg_quality=sample_jpeg_quality(rng, heavy=heavy_compression) if codec < 0.2 * amount else None,
        h264_crf=(sample_crf(rng, heavy=heavy_compression) if 0.2 * amount <= codec < 0.9 * amount else None),
    )
    if heavy_compression:
        earlier = _sample_earlier(rng) if rng.uniform() < 0.3 * amount else None
        chroma_scale = float(rng.uniform(0.12, 0.5)) if rng.uniform() < 0.2 * amount else 1.0
        drawn = replace(drawn, earlier=earlier, chroma_scale=chroma_scale)
    if motion_blur and rng.uniform() < 0.3 * amount:
        drawn = replace(drawn, motion_blur=sample_motion_blur(rng))
    return drawn


def _sample_earlier(rng: np.random.Generator) -> EarlierCompression:
    quality = int(rng.integers(20, 91))
    return EarlierCompression(quality, float(rng.uniform(0.4, 1.0)) if rng.uniform() < 0.5 else 1.0)


def replace_missing_codec(degradation: Degradation) -> Degradation:
    """Return a degradation with JPEG of about the same loss in place of H.264 where there is no encoder."""
    if degradation.h264_crf is None or has_h264():
        return degradation
    share = (degradation.h264_crf - LOWEST_CRF) / (HIGHEST_CRF - LOWEST_CRF)
    quality = round(_JPEG_AT_LOWEST_CRF + share * (_JPEG_AT_HIGHEST_CRF - _JPEG_AT_LOWEST_CRF))
    return replace(degradation, h264_crf=None, jpeg_quality=max(quality, _LOWEST_REPLACEMENT_JPEG))


def sample_crf(rng: np.random.Generator, *, heavy: bool = False) -> int:
    """Draw a constant rate factor between that of a careful upload and that of a messenger.

    `heavy` goes up to that of a connection that can hardly carry video.
    """
    return int(rng.integers(LOWEST_CRF, (HEAVIEST_CRF if heavy else HIGHEST_CRF) + 1))


def sample_jpeg_quality(rng: np.random.Generator, *, heavy: bool = False) -> int:
    """Draw a quality between that of a messenger, or of a thumbnail when `heavy`, and that of a camera."""
    return int(rng.integers(HEAVIEST_JPEG if heavy else LOWEST_JPEG, HIGHEST_JPEG + 1))


def degrade_before_codec(image: Image, degradation: Degradation, seed: int) -> Image:
    """Apply every step but the codec to `image` [H, W, 3] uint8 RGB; `seed` is that of the noise.

    The result has the lower resolution.
    """
    return degrade_alike([image], degradation, seed)[0]


def degrade_alike(images: Sequence[Image], degradation: Degradation, seed: int) -> list[Image]:
    """Apply every step but the codec to images of one size; all get the same noise."""
    blur = degradation.motion_blur
    out = list(images) if blur is None else blur_motion(images, blur)
    out = [apply_color_jitter(image, degradation.color_jitter) for image in out]
    if degradation.earlier is not None:
        out = [_compress_earlier(image, degradation.earlier) for image in out]
    if degradation.scale < 1:
        out = [_resize(image, _scaled_size(image, degradation.scale)) for image in out]
    if degradation.blur_px:
        out = [np.asarray(cv2.GaussianBlur(image, (0, 0), degradation.blur_px), np.uint8) for image in out]
    if degradation.noise:
        noise = np.random.default_rng(seed).standard_normal(out[0].shape, np.float32)
        noise = degradation.noise * noise + np.float32(0.5)
        out = [np.clip(image + noise, 0, 255).astype(np.uint8) for image in out]
    if degradation.chroma_scale < 1:
        out = [_blur_chroma(image, degradation.chroma_scale) for image in out]
    return out


def _scaled_size(image: Image, scale: float, smallest_px: int = SMALLEST_SIDE_PX) -> tuple[int, int]:
    width, height = (max(smallest_px, round(side * scale)) for side in image.shape[1::-1])
    return width, height


def _resize(image: Image, size: tuple[int, int]) -> Image:
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def _compress_earlier(image: Image, earlier: EarlierCompression) -> Image:
    if earlier.scale == 1:
        return jpeg_round_trip(image, earlier.jpeg_quality)
    small = jpeg_round_trip(_resize(image, _scaled_size(image, earlier.scale)), earlier.jpeg_quality)
    return np.asarray(cv2.resize(small, image.shape[1::-1], interpolation=cv2.INTER_LINEAR), np.uint8)


def _blur_chroma(image: Image, scale: float) -> Image:
    """Resample both color planes through a lower resolution; the luma stays."""
    planes = cv2.cvtColor(image, cv2.COLOR_RGB2YCrCb)
    chroma = np.ascontiguousarray(planes[:, :, 1:])
    small = cv2.resize(chroma, _scaled_size(image, scale, SMALLEST_CHROMA_PX), interpolation=cv2.INTER_AREA)
    planes[:, :, 1:] = cv2.resize(small, image.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    return np.asarray(cv2.cvtColor(planes, cv2.COLOR_YCrCb2RGB), np.uint8)


def degrade(image: Image, degradation: Degradation, seed: int) -> Image:
    """Apply every step but H.264, which takes many images at once (`codec.h264_round_trip`)."""
    return compress(degrade_before_codec(image, degradation, seed), degradation)


def compress(image: Image, degradation: Degradation) -> Image:
    """Apply the JPEG compression of a degradation, if it has one."""
    return image if degradation.jpeg_quality is None else jpeg_round_trip(image, degradation.jpeg_quality)

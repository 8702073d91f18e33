"""Fit images of several sizes into one: scaled without distortion, centered, with black bars around."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from deepfake_triton.arrays import Frames, Image


@dataclass(frozen=True)
class Letterbox:
    """Where an image of another size lies in a frame: scaled by `scale` to `width` × `height` px, with its
    upper left corner at (`left`, `top`)."""

    scale: float
    left: int
    top: int
    width: int
    height: int


def fit_letterbox(own_size: tuple[int, int], width: int, height: int) -> Letterbox:
    """Return the largest centered placement in `width` × `height` px that keeps the aspect ratio of
    `own_size` (width, height)."""
    own_width, own_height = own_size
    scale = min(width / own_width, height / own_height)
    inner_width = min(width, max(1, round(own_width * scale)))
    inner_height = min(height, max(1, round(own_height * scale)))
    return Letterbox(
        scale, (width - inner_width) // 2, (height - inner_height) // 2, inner_width, inner_height
    )


def letterbox_image(image: Image, width: int, height: int) -> Image:
    """Letterbox an image [H, W, 3] uint8 to [`height`, `width`, 3]; one of that size is returned as it is."""
    own_height, own_width = image.shape[:2]
    if (own_width, own_height) == (width, height):
        return image
    fit = fit_letterbox((own_width, own_height), width, height)
    interpolation = cv2.INTER_AREA if fit.scale < 1 else cv2.INTER_CUBIC
    canvas = np.zeros((height, width, 3), np.uint8)
    inner = cv2.resize(image, (fit.width, fit.height), interpolation=interpolation)
    canvas[fit.top : fit.top + fit.height, fit.left : fit.left + fit.width] = inner
    return canvas


def stack_images(images: Sequence[Image]) -> Frames:
    """Stack images [H, W, 3] uint8 into [T, H, W, 3] at their most common size (of equals, the first).

    Images of another size are letterboxed, so that no frame is lost where a video changes its frame size.
    """
    (height, width), _ = Counter(image.shape[:2] for image in images).most_common(1)[0]
    return np.stack([letterbox_image(image, width, height) for image in images])

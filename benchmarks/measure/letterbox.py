"""A picture of any shape on a frame of a given size."""

from __future__ import annotations

import cv2
import numpy as np

from deepfake_triton.arrays import Image

_BLUR_SHARE = 1 / 32
"""Standard deviation of the background's blur, as a share of the frame's width."""


def letterbox(image: Image, width: int, height: int) -> Image:
    """Enlarge `image` [H, W, 3] uint8 to the full height, on a blurred copy that fills the width."""
    canvas = cv2.GaussianBlur(cv2.resize(image, (width, height)), (0, 0), width * _BLUR_SHARE)
    inner = round(image.shape[1] * height / image.shape[0])
    left = (width - inner) // 2
    canvas[:, left : left + inner] = cv2.resize(image, (inner, height), interpolation=cv2.INTER_CUBIC)
    return np.asarray(canvas, np.uint8)

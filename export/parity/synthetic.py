"""Smooth, structured synthetic images, for checks where no video with a face is at hand."""

from __future__ import annotations

import cv2
import numpy as np

from deepfake_triton.arrays import Frames


def synthetic_crops(count: int, side: int, seed: int = 0) -> Frames:
    """Return `count` different images [count, side, side, 3] uint8 of blurred ellipses on a gradient."""
    generator = np.random.default_rng(seed)
    images = []
    for _ in range(count):
        corners = generator.uniform(30, 225, (2, 2, 3)).astype(np.float32)
        image = cv2.resize(corners, (side, side), interpolation=cv2.INTER_LINEAR)
        for _ in range(6):
            center = tuple(int(value) for value in generator.integers(0, side, 2))
            axes = tuple(int(value) for value in generator.integers(side // 16 + 1, side // 3 + 2, 2))
            color = tuple(float(value) for value in generator.uniform(0, 255, 3))
            cv2.ellipse(image, center, axes, float(generator.uniform(0, 180)), 0, 360, color, -1)
        images.append(cv2.GaussianBlur(image, (0, 0), side / 40))
    return np.clip(np.stack(images), 0, 255).astype(np.uint8)

"""Smooth, structured pictures made in code, for checks where no video with a face is at hand."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt


def synthetic_crops(count: int, side: int, seed: int = 0) -> npt.NDArray[np.uint8]:
    """`count` different pictures [count, side, side, 3] uint8: soft coloured shapes on a gradient."""
    generator = np.random.default_rng(seed)
    pictures = []
    for _ in range(count):
        corners = generator.uniform(30, 225, (2, 2, 3)).astype(np.float32)
        picture = cv2.resize(corners, (side, side), interpolation=cv2.INTER_LINEAR)
        for _ in range(6):
            centre = tuple(int(value) for value in generator.integers(0, side, 2))
            axes = tuple(int(value) for value in generator.integers(side // 16 + 1, side // 3 + 2, 2))
            colour = tuple(float(value) for value in generator.uniform(0, 255, 3))
            cv2.ellipse(picture, centre, axes, float(generator.uniform(0, 180)), 0, 360, colour, -1)
        pictures.append(cv2.GaussianBlur(picture, (0, 0), side / 40))
    return np.clip(np.stack(pictures), 0, 255).astype(np.uint8)

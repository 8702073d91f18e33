"""Portraits by construction: pictures with the spectrum of photos, and landmarks at known places."""

from __future__ import annotations

import cv2
import numpy as np

from deepfake_triton.arrays import Image
from deepfake_triton.training.faces.portraits import Portrait

LANDMARKS = np.array([[-40.0, -18], [40, -16], [2, 22], [-32, 56], [33, 58]])
_OCTAVES, _SHAPES = 7, 60


def picture(seed: int, height: int, width: int) -> Image:
    """Return noise of all sizes, weaker the finer it is, with edges in it: about what photos have."""
    rng = np.random.default_rng(seed)
    total = np.full((height, width, 3), 120.0, np.float32)
    for octave in range(_OCTAVES):
        cells = 2 ** (octave + 1)
        gray = rng.normal(0, 40 * 0.55**octave, (cells, cells, 1))
        tint = rng.normal(0, 12 * 0.5**octave, (cells, cells, 3))
        total += cv2.resize((gray + tint).astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
    image = np.clip(total, 0, 255).astype(np.uint8)
    for _ in range(_SHAPES):
        center, radius_px = rng.integers(0, [width, height]).tolist(), int(rng.integers(4, 40))
        color = rng.integers(30, 226, 3).tolist()
        cv2.circle(image, center, radius_px, color, int(rng.integers(1, 6)), cv2.LINE_AA)
    return image


def drawn_portraits(count: int) -> list[Portrait]:
    """Return portraits of as many people, in pictures of several sizes."""
    out = []
    for number in range(count):
        height, width = 400 + 30 * number, 380 - 20 * number
        center = np.array([width / 2 + 5 * number, height / 2 - 8.0])
        box = np.concatenate([center - np.array([85, 110]), center + np.array([85, 110])])
        out.append(
            Portrait(picture(number, height, width), box, LANDMARKS + center, f"{number}", f"p{number}")
        )
    return out

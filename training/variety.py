"""More faces than there are photos: skin and light of a portrait changed before anything is forged.

A few hundred photos are soon known by heart. What changes here changes for the real face and its twin alike.
"""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import numpy.typing as npt

from deepfake_triton.training.portraits import Portrait

Picture = npt.NDArray[np.uint8]
Points = npt.NDArray[np.float64]

_LARGEST_PUSH, _PUSH_GRID = 0.028, 5
_LIGHT, _TINT, _LIGHT_GRID = 0.15, 0.04, 3
_LARGEST_HOLE = 0.35


def varied(rng: np.random.Generator, portrait: Portrait) -> Portrait:
    """The portrait pushed about smoothly, by some hundredths of its face, under another light."""
    height, width = portrait.pixels.shape[:2]
    side = float(max(portrait.box[2:] - portrait.box[:2]))
    push = rng.uniform(0, _LARGEST_PUSH) * side * rng.standard_normal((_PUSH_GRID, _PUSH_GRID, 2))
    field = _spread(push.astype(np.float32), width, height)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    moved = cv2.remap(
        portrait.pixels,
        x + field[..., 0],
        y + field[..., 1],
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REFLECT_101,
    )
    light = _LIGHT * rng.standard_normal((_LIGHT_GRID, _LIGHT_GRID, 1))
    tint = _TINT * rng.standard_normal((_LIGHT_GRID, _LIGHT_GRID, 3))
    gain = _spread(np.exp(np.clip(light + tint, -0.7, 0.5)).astype(np.float32), width, height)
    pixels = cv2.multiply(moved, gain, dtype=cv2.CV_8U)
    corners = portrait.box[[0, 1, 2, 1, 0, 3, 2, 3]].reshape(4, 2)
    at = _pushed(corners, field)
    box = np.array([at[[0, 2], 0].mean(), at[:2, 1].mean(), at[[1, 3], 0].mean(), at[2:, 1].mean()])
    return replace(
        portrait, pixels=np.asarray(pixels, np.uint8), box=box, landmarks=_pushed(portrait.landmarks, field)
    )


def _spread(grid: npt.NDArray[np.float32], width: int, height: int) -> npt.NDArray[np.float32]:
    return np.asarray(cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC), np.float32)


def _pushed(points: Points, field: npt.NDArray[np.float32]) -> Points:
    """Where points [N, 2] of the picture are afterwards: what is drawn at p was read at p + field(p)."""
    column, row = np.clip(np.rint(points), 0, np.array(field.shape[1::-1]) - 1).astype(int).T
    moved: Points = points - field[row, column]
    return moved


def hole(rng: np.random.Generator, side: int) -> tuple[slice, slice, npt.NDArray[np.uint8]]:
    """A rectangle of a crop [side, side, 3], and the colour that hides it (*Cutout*, DeVries, 2017)."""
    height, width = (int(side * rng.uniform(0.1, _LARGEST_HOLE)) for _ in range(2))
    top, left = int(rng.integers(side - height)), int(rng.integers(side - width))
    colour = rng.integers(0, 256, 3).astype(np.uint8)
    return slice(top, top + height), slice(left, left + width), colour

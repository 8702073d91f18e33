"""Blotches: patches of skin in a wrong color or with another texture, as broken generators leave them."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from deepfake_triton.arrays import Image
from deepfake_triton.training.forgery.aligned_square import face_coordinates, square_landmarks
from deepfake_triton.training.forgery.masks import MaskShape, draw_mask

_Values = npt.NDArray[np.float32]

SQUARE_PX = 96
"""Side of the aligned square that blotches are painted on."""
_COLOR_GRID = 4
_FEATURES = ((-0.5, 0.0, 0.28, 0.16), (0.5, 0.0, 0.28, 0.16), (0.0, 1.12, 0.42, 0.16))
"""Eyes and mouth, which are no skin: x, y and half axes in face coordinates."""


@dataclass(frozen=True)
class Blotches:
    """Where blotches are and what they look like; lengths are in eye distances.

    They cover the part `share` of the mask, where `field` [G, G] is highest, with soft edges of the part
    `edge` of its range. `colors` [4, 4, 3] are the shifts in gray levels, interpolated over the face. Texture
    finer than a tenth is scaled by `texture` (1 keeps it) and taken from `texture_shift` (x, y) away.
    """

    share: float
    field: npt.NDArray[np.float64]
    edge: float
    colors: npt.NDArray[np.float64]
    texture: float = 1.0
    texture_shift: tuple[float, float] = (0.0, 0.0)


def sample_blotches(rng: np.random.Generator, strength: float) -> Blotches:
    """Draw blotches over 5 to 40 % of the face, with wrong colors, another texture, or both."""
    cells = int(rng.integers(5, 13))
    look = rng.random()
    hue = rng.standard_normal(3)
    hue -= 0.6 * hue.mean()
    amplitude = strength * np.exp(rng.uniform(np.log(14), np.log(40))) * (1.0 if look < 0.75 else 0.3)
    colors = hue / np.linalg.norm(hue) + 0.5 * rng.standard_normal((_COLOR_GRID, _COLOR_GRID, 3))
    texture = float(rng.choice([0.0, 0.2, 1.8, 2.5])) if look > 0.5 else 1.0
    shift = rng.uniform(0.3, 0.7, 2) * rng.choice([-1, 1], 2)
    return Blotches(
        share=float(rng.uniform(0.05, 0.4)),
        field=rng.standard_normal((cells, cells)),
        edge=float(rng.uniform(0.04, 0.35)),
        colors=amplitude * colors,
        texture=texture,
        texture_shift=(float(shift[0]), float(shift[1])) if texture != 1 else (0.0, 0.0),
    )


def blotch_weights(blotches: Blotches, mask: MaskShape) -> _Values:
    """Return how much of each pixel of the aligned square is blotched, [SQUARE_PX, SQUARE_PX] in 0…1."""
    size = (SQUARE_PX, SQUARE_PX)
    skin = draw_mask(mask, square_landmarks(SQUARE_PX), size)
    x, y = face_coordinates(SQUARE_PX)
    for center_x, center_y, half_width, half_height in _FEATURES:
        skin = skin * np.clip(
            np.hypot((x - center_x) / half_width, (y - center_y) / half_height) * 2 - 1.6, 0, 1
        )
    field = cv2.resize(blotches.field.astype(np.float32), size, interpolation=cv2.INTER_CUBIC)
    inside = field[skin > 0.5]
    if not len(inside):
        return np.zeros(size, np.float32)
    border = np.quantile(inside, 1 - blotches.share)
    rise = np.clip((field - border) / (blotches.edge * float(np.ptp(inside)) + 1e-6) + 0.5, 0, 1)
    return np.asarray(skin * rise, np.float32)


def color_shifts(blotches: Blotches) -> _Values:
    """Return the color shifts [SQUARE_PX, SQUARE_PX, 3] of the aligned square, in gray levels."""
    size = (SQUARE_PX, SQUARE_PX)
    return np.asarray(
        cv2.resize(blotches.colors.astype(np.float32), size, interpolation=cv2.INTER_CUBIC), np.float32
    )


def change_skin(base: Image, shifts: _Values, blotches: Blotches, *, unit_px: float) -> Image:
    """Return `base` [H, W, 3] uint8 RGB with the blotches' colors and texture everywhere.

    `shifts` [H, W, 3] are the color shifts, `unit_px` is the eye distance.
    """
    changed = base.astype(np.float32)
    if blotches.texture != 1:
        low = cv2.GaussianBlur(base, (0, 0), 0.1 * unit_px + 0.5).astype(np.float32)
        dx, dy = (float(unit_px * part) for part in blotches.texture_shift)
        fine = cv2.warpAffine(
            changed - low,
            np.array([[1, 0, dx], [0, 1, dy]]),
            base.shape[1::-1],
            borderMode=cv2.BORDER_REFLECT_101,
        )
        # Fine texture alone: an edge moved along would be a second nose.
        limit = 14.0
        changed = low + blotches.texture * np.clip(fine, -limit, limit)
    return np.asarray(np.clip(np.rint(changed + shifts), 0, 255), np.uint8)

"""The part of a picture around an eye or a mouth, and axes along it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import cv2
import numpy as np
import numpy.typing as npt

from deepfake_triton.arrays import Image

Values = npt.NDArray[np.float32]
Array = npt.NDArray[np.float64]
Float = TypeVar("Float", np.float32, np.float64)
NO_MAP = np.empty((0, 0), np.float32)
"""OpenCV's second map of places, which one with both coordinates needs not."""


def smooth_step(part: npt.NDArray[Float]) -> npt.NDArray[Float]:
    """Return 0 up to 0 and 1 from 1 on, with a smooth rise between them."""
    part = np.clip(part, 0, 1)
    return part * part * (3 - 2 * part)


@dataclass(frozen=True)
class Axes:
    """Axes along an eye or a mouth: `origin` [2] px, the matrix [2, 2] to them, and the width in px."""

    origin: Array
    turn: Array
    width: float

    def of(self, points: Array) -> Array:
        """Return points [..., 2] px of the picture along the axes: to the right, and down."""
        out: Array = (points - self.origin) @ self.turn.T
        return out


def axes_between(first: Array, last: Array) -> Axes:
    """Return the axes in the middle of two points [2] px, from the one on the left to that on the right."""
    if first[0] > last[0]:
        first, last = last, first
    along = last - first
    width = float(np.hypot(*along))
    unit = along / max(width, 1e-9)
    return Axes(0.5 * (first + last), np.array([unit, [-unit[1], unit[0]]]), width)


@dataclass(frozen=True)
class Patch:
    """Pixels of a picture, every `step` px, and their places along the axes: `right` and `down` [h, w] px.

    With a step beyond 1, a place is the middle of the pixels that it stands for.
    """

    rows: slice
    columns: slice
    step: int
    right: Values
    down: Values

    def enlarge(self, field: Values) -> Values:
        """Return a field [h, w, C] known at the patch's places at each of its pixels."""
        if self.step == 1:
            return field
        size = (field.shape[1] * self.step, field.shape[0] * self.step)
        full = np.asarray(cv2.resize(field, size, interpolation=cv2.INTER_LINEAR), np.float32)
        height, width = self.rows.stop - self.rows.start, self.columns.stop - self.columns.start
        return full[:height, :width]


def cut_patch(image: Image, axes: Axes, extent: tuple[float, float, float], *, step: int = 1) -> Patch | None:
    """Return the pixels within `extent` (sideways, up, down) in widths; None where there are none."""
    aside, up, below = (value * axes.width for value in extent)
    corners = np.array([[-aside, -up], [aside, -up], [aside, below], [-aside, below]]) @ axes.turn
    corners = corners + axes.origin
    low = np.maximum(np.floor(corners.min(axis=0)).astype(int), 0)
    high = np.minimum(np.ceil(corners.max(axis=0)).astype(int) + 1, image.shape[1::-1])
    if (high - low < 2).any():
        return None
    middle = 0.5 * (step - 1)
    x = np.arange(low[0], high[0], step, dtype=np.float32) + np.float32(middle - axes.origin[0])
    y = np.arange(low[1], high[1], step, dtype=np.float32)[:, None] + np.float32(middle - axes.origin[1])
    turn = axes.turn.astype(np.float32)
    return Patch(
        slice(int(low[1]), int(high[1])),
        slice(int(low[0]), int(high[0])),
        step,
        turn[0, 0] * x + turn[0, 1] * y,
        turn[1, 0] * x + turn[1, 1] * y,
    )


def sample(image: Image, patch: Patch, shift: Values) -> Image:
    """Return the picture [h, w, 3] at each pixel of the patch, moved by `shift` [h, w, 2] px."""
    at = shift.copy()
    at[..., 0] += np.arange(patch.columns.start, patch.columns.stop, dtype=np.float32)
    at[..., 1] += np.arange(patch.rows.start, patch.rows.stop, dtype=np.float32)[:, None]
    out = cv2.remap(image, at, NO_MAP, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(out, np.uint8)


def to_picture(right: Values | float, down: Values, axes: Axes) -> Values:
    """Return motion along the axes as motion [h, w, 2] in the picture, x and y in px."""
    turn = axes.turn.astype(np.float32)
    out = np.empty((*down.shape, 2), np.float32)
    out[..., 0] = turn[0, 0] * right + turn[1, 0] * down
    out[..., 1] = turn[0, 1] * right + turn[1, 1] * down
    return out


def at_places(right: Values, columns: Array, lines: tuple[Array, ...]) -> list[Values]:
    """Return lines known at evenly spaced `columns` at the places `right`."""
    at = np.clip((right - columns[0]) / (columns[1] - columns[0]), 0, len(columns) - 1.001).astype(np.float32)
    index = at.astype(np.intp)
    part = at - index
    out = []
    for line in lines:
        values = line.astype(np.float32)
        first = values[index]
        out.append(first + part * (values[index + 1] - first))
    return out

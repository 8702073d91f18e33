"""Open mouths and smile in a picture, by the lips of a face's mesh.

The jaw takes lower lip, chin and cheeks down, and what opens between the lips is dark; teeth that were seen
stay with the upper lip.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from deepfake_triton.arrays import Image
from deepfake_triton.models.face_mesh.topology import CHIN, LOWER_LIP, UPPER_LIP, Mesh
from deepfake_triton.training.augmentation.heads.patch import (
    Array,
    Axes,
    Patch,
    Values,
    at_places,
    axes_between,
    cut_patch,
    sample,
    smooth_step,
    to_picture,
)

_SMALLEST_MOUTH_PX = 6.0
_JAW_DROP = 0.42
"""How far the fully opened jaw takes the lower lip, in widths of the mouth."""
_EXTENT, _LIPS_EXTENT = (1.6, 1.0, 2.6), (0.52, 0.3, 0.75)
"""Reach of the motion and of the lips, sideways, up and down, in widths of the mouth."""
_STEP = 4
"""Every so many pixels the smooth motion is computed."""
_SMILE_OUT, _SMILE_UP, _SMILE_REACH = 0.09, 0.07, 0.36
_INSIDE_TOP_RGB, _INSIDE_BOTTOM_RGB = (32, 13, 13), (104, 50, 50)


@dataclass(frozen=True)
class _Lips:
    """Edges of the lips at some places, and by how much the lower one goes down there, in px."""

    upper: Values
    lower: Values
    gap: Values


@dataclass(frozen=True)
class _Jaw:
    """The jaw's motion along the mouth's `axes`: its `drop` and the chin's distance from the mouth in px.

    `upper` and `lower` [11, 2] are the edges of the lips, from left to right.
    """

    axes: Axes
    drop: float
    chin: float
    upper: Array
    lower: Array

    def lips(self, right: Values) -> _Lips:
        """Return the lips at places along the mouth."""
        columns = np.linspace(-1.7, 1.7, 137) * self.axes.width
        upper = np.interp(columns, self.upper[:, 0], self.upper[:, 1])
        lower = np.maximum(np.interp(columns, self.lower[:, 0], self.lower[:, 1]), upper)
        gap = self.drop * np.clip(1 - (2 * columns / self.axes.width) ** 2, 0, 1) ** 0.7
        return _Lips(*at_places(right, columns, (upper, lower, gap)))

    def lowered(self, right: Values, below: Values, gap: Values) -> Values:
        """Return how far down what is seen `below` (at least 0) the lower lip's new edge has come, in px."""
        deep = smooth_step(below / np.float32(self.chin))
        block = self.drop * np.clip(1 - (right / (1.5 * self.axes.width)) ** 2, 0, 1) ** 2
        kept = 1 - smooth_step((below - self.chin) / np.float32(1.3 * self.axes.width))
        out: Values = (gap + deep * (block - gap)) * kept
        return out


def move_mouth(image: Image, mesh: Mesh, *, opened: float, smile: float) -> tuple[Image, Mesh]:
    """Lower the jaw by the part `opened` (0…1) and smile (-1…1), in `image` [H, W, 3] and `mesh` [468, 3]."""
    axes = axes_between(mesh[UPPER_LIP[0], :2], mesh[UPPER_LIP[-1], :2])
    patch, lips = cut_patch(image, axes, _EXTENT, step=_STEP), cut_patch(image, axes, _LIPS_EXTENT)
    if axes.width < _SMALLEST_MOUTH_PX or patch is None or lips is None:
        return image, mesh
    jaw = _jaw(mesh, axes, opened)
    with_jaw, without = _motion(patch, jaw, smile)
    shift = patch.enlarge(with_jaw)
    out = image.copy()
    if not opened:
        out[patch.rows, patch.columns] = sample(image, patch, shift)
        return out, _move_vertices(mesh, jaw, smile)
    inner = _inside(lips, patch)
    above = patch.enlarge(without)[inner]
    down = lips.down + (above @ axes.turn[1].astype(np.float32))
    places = jaw.lips(lips.right)
    below = down - places.lower - places.gap
    shift[inner] = np.where((below >= -0.5)[..., None], shift[inner], above)
    moved = sample(image, patch, shift)
    moved[inner] = _darken_inside(moved[inner], places, down=down, below=below)
    out[patch.rows, patch.columns] = moved
    return out, _move_vertices(mesh, jaw, smile)


def _inside(lips: Patch, patch: Patch) -> tuple[slice, slice]:
    """Return where a patch lies in one around it."""
    rows = slice(lips.rows.start - patch.rows.start, lips.rows.stop - patch.rows.start)
    columns = slice(lips.columns.start - patch.columns.start, lips.columns.stop - patch.columns.start)
    return rows, columns


def _jaw(mesh: Mesh, axes: Axes, opened: float) -> _Jaw:
    upper, lower = (axes.of(mesh[list(line), :2]) for line in (UPPER_LIP, LOWER_LIP))
    chin = max(float(axes.of(mesh[CHIN, :2])[1] - lower[5, 1]), 0.4 * axes.width)
    upper, lower = (line[np.argsort(line[:, 0])] for line in (upper, lower))
    return _Jaw(axes, _JAW_DROP * axes.width * opened, chin, upper, lower)


def _motion(patch: Patch, jaw: _Jaw, smile: float) -> tuple[Values, Values]:
    """Return by how many px the patch's places [h, w, 2] were elsewhere: the jaw, and what is above it."""
    aside, up = _smile(patch.right, patch.down, width_px=jaw.axes.width, smile=smile)
    right, down = patch.right - aside, patch.down - up
    lips = jaw.lips(right)
    lowered = jaw.lowered(right, np.maximum(down - lips.lower - lips.gap, 0), lips.gap)
    lowered *= down > lips.upper - patch.step
    return to_picture(-aside, -up - lowered, jaw.axes), to_picture(-aside, -up, jaw.axes)


def _smile(right: Values, down: Values, *, width_px: float, smile: float) -> tuple[Values, Values]:
    """Return by how much a smile moves what is at a place: to the right, and down, in px."""
    away = np.abs(right)
    squared = ((away - 0.5 * width_px) ** 2 + down**2) / (_SMILE_REACH * width_px) ** 2
    bump = smile * width_px * np.exp(-squared)
    # Both corners' bumps meet in the middle, where the sideways motion changes its sign.
    aside = _SMILE_OUT * bump * np.clip(right / (0.3 * width_px), -1, 1)
    return np.asarray(aside, np.float32), np.asarray(-_SMILE_UP * bump, np.float32)


def _darken_inside(moved: Image, lips: _Lips, *, down: Values, below: Values) -> Image:
    """Return the lips' pixels with what has opened between them dark, and reddish at its bottom."""
    part = np.clip(np.minimum(down - lips.lower, -below) + 0.5, 0, 1) * np.clip(lips.gap, 0, 1)
    deep = (
        np.clip((down - lips.upper) / np.maximum(lips.lower + lips.gap - lips.upper, 1), 0, 1)[..., None] ** 2
    )
    light = float(np.clip(moved.mean() / 130, 0.3, 1.3))
    top, bottom = (light * np.array(color, np.float32) for color in (_INSIDE_TOP_RGB, _INSIDE_BOTTOM_RGB))
    dark = top + deep * (bottom - top)
    return np.asarray(np.rint(moved + part[..., None] * (dark - moved)), np.uint8)


def _move_vertices(mesh: Mesh, jaw: _Jaw, smile: float) -> Mesh:
    axes = jaw.axes
    right, down = (values.astype(np.float32) for values in axes.of(mesh[:, :2]).T)
    aside, up = _smile(right, down, width_px=axes.width, smile=smile)
    if jaw.drop:
        lips = jaw.lips(right)
        is_below = down > lips.lower
        is_below[list(LOWER_LIP[1:-1])] = True
        is_below[list(UPPER_LIP)] = False
        up[is_below] += _lowered_vertices(jaw, right[is_below], down[is_below])
    moved = mesh.copy()
    moved[:, :2] += np.column_stack([aside, up]) @ axes.turn
    return moved


def _lowered_vertices(jaw: _Jaw, right: Values, down: Values) -> Values:
    """Return how far the jaw takes vertices down that were at a place before it opened."""
    lips = jaw.lips(right)
    below, lowered = np.maximum(down - lips.lower, 0), lips.gap
    for _ in range(4):
        lowered = jaw.lowered(right, np.maximum(below + lowered - lips.gap, 0), lips.gap)
    return lowered

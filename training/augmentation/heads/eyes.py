"""Close eyes in a picture, by the lids of a face's mesh.

The upper lid comes down over the eye: the skin above is stretched to its margin, while the eyeball stays
where it is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from deepfake_triton.arrays import Image
from deepfake_triton.models.face_mesh.topology import EYES, EyePoints, Mesh
from deepfake_triton.training.augmentation.heads.patch import (
    Array,
    Axes,
    Patch,
    Values,
    at_places,
    axes_between,
    cut_patch,
    sample,
    to_picture,
)

_UPPER_SHARE = 0.88
"""Part of the way that the upper lid goes; the lower lid does the rest."""
_LASHES, _MARGIN = 0.18, 0.04
"""Widths of the upper and lower lid's edges whose lashes are not stretched, in widths of the eye."""
_LEAST_SKIN, _BELOW = 0.24, 0.36
"""How far above and below the eye its lids' skin follows at least, in widths of the eye."""
_ASIDE = 0.62
_LASH_RGB = (38, 29, 27)
_LASH_WIDTH, _LASH_STRENGTH = 0.045, 0.72
_SMALLEST_EYE_PX = 4.0


@dataclass(frozen=True)
class _Lids:
    """Lids at places along an eye: both margins, where the skin's motion ends, and margins after closing."""

    upper: Array
    lower: Array
    top: Array
    bottom: Array
    new_upper: Array
    new_lower: Array


@dataclass(frozen=True)
class _LidPixels:
    """The same at the pixels [h, w] of a patch."""

    upper: Values
    lower: Values
    top: Values
    bottom: Values
    new_upper: Values
    new_lower: Values


def close_eyes(image: Image, mesh: Mesh, closed: float) -> tuple[Image, Mesh]:
    """Close both eyes of a face by the part `closed` (0…1), in `image` [H, W, 3] and `mesh` [468, 3]."""
    out, moved = image.copy(), mesh.copy()
    for eye in EYES:
        axes = axes_between(mesh[eye.upper[0], :2], mesh[eye.upper[-1], :2])
        patch = cut_patch(image, axes, (_ASIDE, 0.9, 0.6))
        if axes.width < _SMALLEST_EYE_PX or patch is None:
            continue
        columns = np.linspace(-0.7, 0.7, 57) * axes.width
        lids = _lids(mesh, eye, axes, right=columns, closed=closed)
        pixels = _LidPixels(*at_places(patch.right, columns, tuple(vars(lids).values())))
        out[patch.rows, patch.columns] = _close_patch(image, patch, pixels, axes=axes, closed=closed)
        moved[:, :2] += _lid_motion(mesh, eye, axes, closed=closed)
    return out, moved


def _lids(mesh: Mesh, eye: EyePoints, axes: Axes, *, right: Array, closed: float) -> _Lids:
    curves = []
    for line in (eye.upper, eye.lower, eye.brow):
        points = axes.of(mesh[list(line), :2])
        points = points[np.argsort(points[:, 0])]
        curves.append(np.interp(right, points[:, 0], points[:, 1]))
    upper, lower, brow = curves
    lower = np.maximum(upper, lower)
    opening = lower - upper
    return _Lids(
        upper=upper,
        lower=lower,
        top=upper - np.maximum(upper - brow, _LEAST_SKIN * axes.width),
        bottom=lower + _BELOW * axes.width,
        new_upper=upper + closed * _UPPER_SHARE * opening,
        new_lower=lower - closed * (1 - _UPPER_SHARE) * opening,
    )


def _close_patch(image: Image, patch: Patch, lids: _LidPixels, *, axes: Axes, closed: float) -> Image:
    down, width = patch.down, np.float32(axes.width)
    source = _source_rows(down, lids, width_px=axes.width, begun=min(1.0, 4 * closed))
    lid = sample(image, patch, to_picture(0.0, source - down, axes)).astype(np.float32)
    cover = np.clip(np.maximum(lids.new_upper - down, down - lids.new_lower) + 0.5, 0, 1)[..., None]
    eyeball = image[patch.rows, patch.columns]
    mixed = eyeball + cover * (lid - eyeball)
    opening = np.clip((lids.lower - lids.upper) / (0.06 * width), 0, 1)
    thick = max(_LASH_WIDTH * axes.width, 0.6)
    away = (down - lids.new_upper) / thick
    away = np.where(away > 0, away / 1.3, away)
    lash = (_LASH_STRENGTH * closed**0.7) * opening * np.exp(-away * away)
    mixed += lash[..., None] * np.minimum(np.array(_LASH_RGB, np.float32) - mixed, 0)
    touched = (opening > 0) & (down > lids.top) & (down < lids.bottom)
    return np.where(touched[..., None], np.rint(mixed).astype(np.uint8), eyeball)


def _source_rows(down: Values, lids: _LidPixels, *, width_px: float, begun: float | Values) -> Values:
    """Return where the lids' skin that is seen at `down` was, along the same axis."""
    # Toward the corners the lids touch already, and nothing may jump.
    begun = begun * np.clip((lids.lower - lids.upper) / (0.2 * width_px), 0, 1)
    lashes = np.minimum(_LASHES * width_px * begun, 0.5 * (lids.upper - lids.top))
    room = lids.upper - lashes - lids.top
    stretch = np.maximum((lids.new_upper - lids.top) / room, 1)
    part = np.clip((down - lids.top) / (lids.new_upper - lids.top), 0, 1)
    # Half of the stretching is near the margin, where the skin that unfolds comes from.
    skin = lids.top + room * (0.5 * part + 0.5 * (1 - (1 - part) ** stretch))
    edge = _MARGIN * width_px * begun
    below = np.clip((lids.bottom - down) / (lids.bottom - lids.new_lower), 0, 1)
    under = lids.bottom - below * (lids.bottom - lids.lower - edge)
    source = np.where(down < 0.5 * (lids.new_upper + lids.new_lower), skin, under)
    return np.asarray(source, np.float32)


def _lid_motion(mesh: Mesh, eye: EyePoints, axes: Axes, *, closed: float) -> Array:
    """Return the motion [468, 2] px of the vertices around an eye."""
    shift: Array = np.zeros((len(mesh), 2))
    local = axes.of(mesh[:, :2])
    near = np.flatnonzero((np.abs(local) < [_ASIDE * axes.width, axes.width]).all(axis=1))
    right, down = local[near].T
    lids = _lids(mesh, eye, axes, right=right, closed=closed)
    above = (down - lids.top) / (lids.upper - lids.top) * (lids.new_upper - lids.upper)
    below = (lids.bottom - down) / (lids.bottom - lids.lower) * (lids.new_lower - lids.lower)
    is_upper = down <= 0.5 * (lids.upper + lids.lower)
    is_upper = (is_upper | np.isin(near, eye.upper)) & ~np.isin(near, eye.lower)
    within = (down > lids.top) & (down < lids.bottom)
    shift[near] = np.where(within, np.where(is_upper, above, below), 0.0)[:, None] * axes.turn[1]
    return shift

"""Augment portraits before anything is forged: smooth warps and lighting.

A few hundred photos overfit quickly. These changes apply to the real face and its fake counterpart
identically.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from deepfake_triton.arrays import Image, Points
from deepfake_triton.training.augmentation.camera_motion import (
    View,
    matrix_scale,
    place_face,
    place_mesh,
    shrink,
)
from deepfake_triton.training.faces.portraits import Portrait
from deepfake_triton.training.forgery.aligned_square import ALIASING_SCALE

_MAX_WARP, _WARP_GRID = 0.028, 5
_LIGHT, _TINT, _LIGHT_GRID = 0.15, 0.04, 3
_MAX_CUTOUT = 0.35
FINE_GRID = 40
"""Side of the grid between which a view interpolates linearly; the drawn grids are cubic."""

_Values = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Variation:
    """A smooth change of one portrait, on grids over its whole picture.

    `warp` [5, 5, 2] displaces its pixels, in px; `gain` [3, 3, 3] multiplies its colors.
    """

    warp: _Values
    gain: _Values


def sample_variation(rng: np.random.Generator, portrait: Portrait) -> Variation:
    """Draw a warp by up to some hundredths of the face, and a change of its lighting."""
    side_px = float(max(portrait.box[2:] - portrait.box[:2]))
    warp = rng.uniform(0, _MAX_WARP) * side_px * rng.standard_normal((_WARP_GRID, _WARP_GRID, 2))
    light = _LIGHT * rng.standard_normal((_LIGHT_GRID, _LIGHT_GRID, 1))
    tint = _TINT * rng.standard_normal((_LIGHT_GRID, _LIGHT_GRID, 3))
    gain = np.exp(np.clip(light + tint, -0.7, 0.5))
    return Variation(warp.astype(np.float32), gain.astype(np.float32))


def augment_portrait(rng: np.random.Generator, portrait: Portrait) -> Portrait:
    """Warp a whole portrait smoothly and change its lighting, for clips, which show it many times."""
    variation = sample_variation(rng, portrait)
    height, width = portrait.pixels.shape[:2]
    field = _upsample(variation.warp, width, height)
    x, y = np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)
    warped = cv2.remap(
        portrait.pixels,
        x + field[..., 0],
        y[:, None] + field[..., 1],
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REFLECT_101,
    )
    pixels = cv2.multiply(warped, _upsample(variation.gain, width, height), dtype=cv2.CV_8U)
    return replace(move_face(portrait, variation), pixels=np.asarray(pixels, np.uint8))


def move_face(portrait: Portrait, variation: Variation) -> Portrait:
    """Return the portrait with box, landmarks and mesh of its varied picture, and its own pixels."""
    corners = portrait.box[[0, 1, 2, 1, 0, 3, 2, 3]].reshape(4, 2)
    points = _warp_points(np.concatenate([corners, portrait.landmarks]), portrait, variation)
    at = points[:4]
    box = np.array([at[[0, 2], 0].mean(), at[:2, 1].mean(), at[[1, 3], 0].mean(), at[2:, 1].mean()])
    mesh = portrait.mesh
    if mesh is not None:
        mesh = np.column_stack([_warp_points(mesh[:, :2], portrait, variation), mesh[:, 2]])
    return replace(portrait, box=box, landmarks=points[4:], mesh=mesh)


def render_varied_view(
    moved: Portrait, variation: Variation, *, matrix: npt.NDArray[np.float64], size: tuple[int, int]
) -> View:
    """Render `render_view(augment_portrait(…), matrix, size)` with one interpolation, of the view alone.

    `moved` is what `move_face` returned. The whole picture has 2 to 30 times the pixels of the view.
    """
    inverse = cv2.invertAffineTransform(matrix)
    height, width = moved.pixels.shape[:2]
    # The view's pixels in the fine grid over the portrait.
    ratio = np.array([[FINE_GRID / width], [FINE_GRID / height]])
    to_grid = inverse * ratio
    to_grid[:, 2] += 0.5 * ratio[:, 0] - 0.5
    field, gain = (
        cv2.warpAffine(
            _upsample(grid, FINE_GRID, FINE_GRID),
            to_grid,
            size[::-1],
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )
        for grid in (variation.warp, variation.gain)
    )
    x, y = np.arange(size[1], dtype=np.float32), np.arange(size[0], dtype=np.float32)[:, None]
    source = field + np.dstack([row[0] * x + (row[1] * y + row[2]) for row in inverse.astype(np.float32)])
    pixels = _sample(moved.pixels, source, matrix_scale(matrix))
    pixels = np.asarray(cv2.multiply(pixels, gain, dtype=cv2.CV_8U), np.uint8)
    box, landmarks = place_face(moved, matrix)
    return View(pixels, box, landmarks, place_mesh(moved, matrix))


def _sample(image: Image, at: _Values, scale: float) -> Image:
    """Return `image` at the places `at` [H, W, 2] px; shrunk first where single pixels would alias."""
    if scale < ALIASING_SCALE:
        edges = np.concatenate([at[[0, -1]].reshape(-1, 2), at[:, [0, -1]].reshape(-1, 2)])
        corner = np.clip(np.floor(edges.min(axis=0)).astype(int) - 4, 0, None)
        end = np.ceil(edges.max(axis=0)).astype(int) + 5
        seen = image[corner[1] : max(end[1], corner[1] + 4), corner[0] : max(end[0], corner[0] + 4)]
        if seen.size:
            image, factor = shrink(seen, scale)
            at = (at - (corner - 0.5).astype(np.float32)) * factor.astype(np.float32) - np.float32(0.5)
    out = cv2.remap(
        image,
        np.ascontiguousarray(at[..., 0]),
        np.ascontiguousarray(at[..., 1]),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return np.asarray(out, np.uint8)


def _upsample(grid: _Values, width: int, height: int) -> _Values:
    return np.asarray(cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC), np.float32)


def _warp_points(points: Points, portrait: Portrait, variation: Variation) -> Points:
    """Map points [N, 2] px through the warp: the pixel drawn at p was read at p + warp(p)."""
    height, width = portrait.pixels.shape[:2]
    grid = (points + 0.5) * [FINE_GRID / width, FINE_GRID / height] - 0.5
    field = cv2.remap(
        _upsample(variation.warp, FINE_GRID, FINE_GRID),
        grid[:, :1].astype(np.float32),
        grid[:, 1:].astype(np.float32),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    warped: Points = points - field.reshape(-1, 2)
    return warped


def sample_cutout(rng: np.random.Generator, side: int) -> tuple[slice, slice, npt.NDArray[np.uint8]]:
    """Draw a rectangle (rows, columns) of a crop [side, side, 3] and the RGB color [3] uint8 that hides it.

    DeVries & Taylor, *Improved Regularization of Convolutional Neural Networks with Cutout*, 2017.
    """
    height, width = (int(side * rng.uniform(0.1, _MAX_CUTOUT)) for _ in range(2))
    top, left = int(rng.integers(side - height)), int(rng.integers(side - width))
    color = rng.integers(0, 256, 3).astype(np.uint8)
    return slice(top, top + height), slice(left, left + width), color

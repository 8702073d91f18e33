"""Render a picture with its head turned.

Every triangle of the head's surface is scattered at its new place on a coarse grid, nearest ones first, and
the grid is smoothed: what the turned head hides cannot fold, and what it uncovers is stretched. The face and
what is around it are two layers, so that the face's far edge is as sharp as it was.
"""

from __future__ import annotations

import functools
import itertools
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from deepfake_triton.arrays import Image
from deepfake_triton.models.face_mesh.topology import NUM_POINTS, OUTLINE, Mesh, closed_triangles
from deepfake_triton.training.augmentation.heads.patch import NO_MAP
from deepfake_triton.training.augmentation.heads.turning import head_pose, head_surface, ring_triangles

_CELLS = 56
"""Cells of the grid along the picture's longer side."""
_SPLITS = ((0.0, 1), (0.5, 2), (2.0, 3), (4.5, 5), (12.0, 8))
"""From an area in cells on, a triangle is scattered as the square of this many samples."""
_COARSER_AROUND = 8
"""By how much larger triangles around the face are for as many samples."""
_FACE, _SKIRT, _AROUND = range(3)
_SKIRT_RINGS = 2
_HIDDEN_BEHIND = 0.08
"""Depth behind the nearest sample of a cell, in widths of the face, from which a sample counts as hidden."""
_BLUR_CELLS, _FILL_CELLS, _FILL_WEIGHT, _REST_WEIGHT = 0.7, 9, 0.02, 1e-4
_COVER_BLUR_CELLS, _EDGE_PX = 1.1, 1.5
_JOINED = 0.06
"""Difference of the layers' displacements, in widths of the face, up to which they are joined smoothly."""
_SAME_PX = 0.7
"""Displacements of the two layers that differ by less need no blending at the face's edge."""

_Values = npt.NDArray[np.float32]


@dataclass(frozen=True)
class _Layers:
    """Where each pixel of the new picture lies in the old one, for the face and for what is around it.

    `face` and `around` [H, W, 2] are relative to the pixel's own place, x and y in px; `cover` [H, W] is how
    much of the pixel is face: from 0 or less to 1 or more.
    """

    face: _Values
    around: _Values
    cover: _Values


def turn_head(image: Image, mesh: Mesh, *, yaw_degrees: float, pitch_degrees: float) -> tuple[Image, Mesh]:
    """Return `image` [H, W, 3] uint8 RGB and its `mesh` [468, 3] px with the head turned."""
    pose = head_pose(mesh)
    surface = head_surface(mesh, pose)
    turned = surface.turned(pose, yaw_degrees=yaw_degrees, pitch_degrees=pitch_degrees)
    size = (image.shape[0], image.shape[1])
    layers = _layers(surface.points, turned, size, width_px=float(np.ptp(mesh[:, 0])))
    return _composite(image, layers), turned[:NUM_POINTS]


def _composite(image: Image, layers: _Layers) -> Image:
    height, width = image.shape[:2]
    mask = (layers.cover > 0.5).view(np.uint8)
    place = np.asarray(cv2.copyTo(layers.face, mask, layers.around.copy()), np.float32)
    place[..., 0] += np.arange(width, dtype=np.float32)
    place[..., 1] += np.arange(height, dtype=np.float32)[:, None]
    out = _sample(image, place)
    rows, columns = np.nonzero(np.abs(layers.cover - 0.5) < 0.5)
    differs = (np.abs(layers.face[rows, columns] - layers.around[rows, columns]) > _SAME_PX).any(axis=1)
    at = (rows[differs], columns[differs])
    if len(at[0]):
        own = np.column_stack(at[::-1]).astype(np.float32)
        face, around = (
            _sample(image, (own + field[at])[None]).reshape(-1, 3).astype(np.float32)
            for field in (layers.face, layers.around)
        )
        out[at] = np.rint(around + layers.cover[at][:, None] * (face - around)).astype(np.uint8)
    return out


def _sample(image: Image, at: _Values) -> Image:
    out = cv2.remap(image, at, NO_MAP, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(out, np.uint8)


def _layers(surface: Mesh, turned: Mesh, size: tuple[int, int], *, width_px: float) -> _Layers:
    cell = max(size) / _CELLS
    grid = (max(2, round(size[0] / cell)), max(2, round(size[1] / cell)))
    triangles, kinds = _triangles()
    # From here on x and y of the new places are in cells.
    scale = np.array([grid[1] / size[1], grid[0] / size[0]])
    points = np.empty((len(turned), 5), np.float32)
    points[:, :2], points[:, 2] = (turned[:, :2] + 0.5) * scale, turned[:, 2]
    points[:, 3:] = surface[:, :2] - turned[:, :2]
    vertices = points[triangles]
    # The winding of a mirrored view is the other one: a triangle is turned away if its area changes sign.
    area = _signed_area(vertices) * np.sign(_signed_area(surface[:, :2].astype(np.float32)[triangles]))
    ahead = area > 0
    samples = _split(vertices[ahead], area[ahead], kinds[ahead])
    sums = _scatter(samples, grid, hidden_behind_px=_HIDDEN_BEHIND * width_px)
    cover = cv2.GaussianBlur(np.minimum(sums[0, ..., 3], 1), (0, 0), _COVER_BLUR_CELLS)
    face, around = (_fill(np.ascontiguousarray(layer[..., :3])) for layer in sums)
    face = _join(face, around, inside=4 * cover - 2, limit_px=_JOINED * width_px)
    # The blurred step of the cover rises by about 1 in 2.5 times its deviation.
    cover = (cover - 0.5) * np.float32(2.5 * _COVER_BLUR_CELLS * cell / _EDGE_PX) + 0.5
    return _Layers(*(_upsample(field, size) for field in (face, around, cover)))


def _join(face: _Values, around: _Values, *, inside: _Values, limit_px: float) -> _Values:
    """Return the face's displacements, led over to those around it at its edge where they differ little.

    Beside each other they would show what is between them twice. `inside` [h, w] is 0 at the edge and 1
    within.
    """
    apart = face - around
    near = np.clip(2 - np.hypot(apart[..., 0], apart[..., 1]) / limit_px, 0, 1)
    kept = 1 - near * (1 - np.clip(inside, 0, 1))
    return np.asarray(around + kept[..., None] * apart, np.float32)


def _upsample(field: _Values, size: tuple[int, int]) -> _Values:
    return np.asarray(cv2.resize(field, size[::-1], interpolation=cv2.INTER_LINEAR), np.float32)


@functools.cache
def _triangles() -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the triangles [N, 3] of both layers, and the kind [N] of each.

    The face's layer has a skirt: without it, its displacements would be means of one side along its edge, and
    disagree there with the other layer.
    """
    face, rings = closed_triangles(), ring_triangles()
    skirt = rings[: _SKIRT_RINGS * 2 * len(OUTLINE)]
    counts = (len(face), len(skirt), len(rings))
    return np.concatenate([face, skirt, rings]), np.repeat([_FACE, _SKIRT, _AROUND], counts)


@functools.cache
def _part_middles(n: int) -> _Values:
    """Return the barycentric middles [n * n, 3] of the equal parts of a triangle."""
    upright = [(i + 1 / 3, j + 1 / 3) for i in range(n) for j in range(n - i)]
    inverted = [(i + 2 / 3, j + 2 / 3) for i in range(n - 1) for j in range(n - 1 - i)]
    return np.array([(i / n, j / n, 1 - (i + j) / n) for i, j in upright + inverted], np.float32)


@dataclass(frozen=True)
class _Samples:
    """Points of triangles: `values` [N, 5] (x, y in cells, z and displacement in px), and areas in cells."""

    values: _Values
    areas: _Values
    kinds: npt.NDArray[np.int64]


def _split(vertices: _Values, area: _Values, kinds: npt.NDArray[np.int64]) -> _Samples:
    """Return samples of triangles [N, 3, 5], the more the larger they are."""
    # What is around changes slowly and may have holes, which are filled.
    fineness = np.where(kinds == _FACE, area, area / _COARSER_AROUND)
    values, areas, own_kinds = [], [], []
    for (smallest, n), (largest, _) in itertools.pairwise((*_SPLITS, (np.inf, 0))):
        chosen = (fineness >= smallest) & (fineness < largest)
        values.append(np.matmul(_part_middles(n), vertices[chosen]).reshape(-1, 5))
        areas.append(np.repeat(area[chosen] / n**2, n * n))
        own_kinds.append(np.repeat(kinds[chosen], n * n))
    return _Samples(np.concatenate(values), np.concatenate(areas), np.concatenate(own_kinds))


def _scatter(samples: _Samples, grid: tuple[int, int], *, hidden_behind_px: float) -> _Values:
    """Scatter samples on a grid of (rows, columns), for the face and for what is around it.

    Returns the sums [2, rows, columns, 4] of both displacements, of the areas, and of those of the face.
    """
    columns, rows = (np.floor(samples.values[:, axis]).astype(np.int64) for axis in (0, 1))
    seen = (columns >= 0) & (columns < grid[1]) & (rows >= 0) & (rows < grid[0])
    kinds = samples.kinds[seen]
    at = ((kinds == _AROUND) * grid[0] + rows[seen]) * grid[1] + columns[seen]
    z, dx, dy = samples.values[seen, 2:].T
    count = 2 * grid[0] * grid[1]
    nearest = np.full(count, np.inf, np.float32)
    np.minimum.at(nearest, at, z)
    weight = samples.areas[seen] * (z <= nearest[at] + hidden_behind_px)
    channels = (weight * dx, weight * dy, weight, weight * (kinds == _FACE))
    sums = [np.bincount(at, values, count) for values in channels]
    return np.stack(sums, axis=1).reshape(2, *grid, 4).astype(np.float32)


def _fill(sums: _Values) -> _Values:
    """Return the mean displacement [h, w, 2] px of each cell, that of its neighbors where it has none."""
    near = cv2.GaussianBlur(sums, (0, 0), _BLUR_CELLS, borderType=cv2.BORDER_REFLECT)
    far = cv2.blur(sums, (_FILL_CELLS, _FILL_CELLS), borderType=cv2.BORDER_REFLECT)
    total = near + np.float32(_FILL_WEIGHT) * far
    return np.asarray(total[..., :2] / (total[..., 2:] + np.float32(_REST_WEIGHT)), np.float32)


def _signed_area(corners: _Values) -> _Values:
    (x0, x1, x2), (y0, y1, y2) = corners[..., 0].T, corners[..., 1].T
    area: _Values = 0.5 * ((x1 - x0) * (y2 - y0) - (y1 - y0) * (x2 - x0))
    return area

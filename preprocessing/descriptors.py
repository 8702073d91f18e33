"""Describe how faces and frames look, to tell a cut from a movement.

A descriptor is a histogram of oriented gradients (Dalal and Triggs, CVPR 2005) over 4 × 4 cells of a
thumbnail, and the mean chroma of each cell. It identifies nobody: it tells whether two images moments apart
show the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from deepfake_triton.arrays import Boxes, Frames, Image
from deepfake_triton.preprocessing.detections import round_to_step

_SAMPLED_PX, _THUMBNAIL_PX = 64, 32
"""An image is subsampled to the first, and its thumbnail averages 2 × 2 of those pixels."""
_CELLS, _DIRECTIONS = 4, 8
_DARK_OFFSET, _FLAT_OFFSET = 24, 8
"""Added to R + G + B and to the gradients: black has no chroma then, and a flat area no direction."""
_CHROMA_WEIGHT, _MAX_CHROMA_DIFFERENCE = 0.01, 4.0
_DISTANCE_STEP = 1 / 4096
"""Distances are rounded to multiples of this: no threshold depends on the last bits of a CPU's sums."""

Distances = npt.NDArray[np.float64]
"""[N, N], symmetric: 0 for the same image, about 0.02 for the next frame, over 0.1 after a cut."""


@dataclass(frozen=True)
class Descriptors:
    """Descriptors of N images: `gradients` [N, 128] float64 of length 1, or less for a nearly flat image, and
    `chroma` [N, 32] float64 in 0…255."""

    gradients: npt.NDArray[np.float64]
    chroma: npt.NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.gradients)

    def distances(self) -> Distances:
        """Return the distance of every pair, [N, N]."""
        chroma = np.abs(self.chroma[:, None] - self.chroma[None]).mean(axis=2)
        products = self.gradients @ self.gradients.T
        lengths = np.diagonal(products)
        distances = (lengths[:, None] + lengths) / 2 - products
        distances += _CHROMA_WEIGHT * np.minimum(chroma, _MAX_CHROMA_DIFFERENCE)
        return round_to_step(distances, _DISTANCE_STEP)

    def select(self, indices: Sequence[int]) -> Descriptors:
        """Return the descriptors of some of the images."""
        return Descriptors(self.gradients[indices], self.chroma[indices])


def describe_frames(frames: Frames) -> Descriptors:
    """Describe whole frames [T, H, W, 3] uint8 RGB."""
    return _describe_thumbnails([_thumbnail(frame) for frame in frames])


def describe_faces(frames: Frames, faces_per_frame: Sequence[Boxes]) -> Descriptors:
    """Describe all faces in `frames` [T, H, W, 3] uint8 RGB, given as boxes [N, 4] in px for each frame."""
    thumbnails = [
        _thumbnail(_crop(frame, box))
        for frame, boxes in zip(frames, faces_per_frame, strict=True)
        for box in boxes
    ]
    return _describe_thumbnails(thumbnails or [np.zeros((_THUMBNAIL_PX, _THUMBNAIL_PX, 3), np.uint8)])


def _crop(frame: Image, box: npt.NDArray[np.float64]) -> Image:
    """Return the pixels inside a box, at least one."""
    height, width = frame.shape[:2]
    x1, y1, x2, y2 = (int(value) for value in np.floor(box + 0.5))
    left, top = min(max(x1, 0), width - 1), min(max(y1, 0), height - 1)
    return frame[top : max(y2, top + 1), left : max(x2, left + 1)]


def _thumbnail(image: Image) -> Image:
    method = cv2.INTER_NEAREST if min(image.shape[:2]) > _SAMPLED_PX else cv2.INTER_LINEAR
    sampled = cv2.resize(image, (_SAMPLED_PX, _SAMPLED_PX), interpolation=method)
    return np.asarray(_average(sampled, _THUMBNAIL_PX), np.uint8)


def _average(image: Any, side: int) -> Any:
    return cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)


def _describe_thumbnails(thumbnails: Sequence[Image]) -> Descriptors:
    colors = np.stack(thumbnails).astype(np.int32)
    cells = np.stack([_average(thumbnail, _CELLS) for thumbnail in thumbnails]).astype(np.float64)
    return Descriptors(_gradients(colors[..., 0] + colors[..., 1] + colors[..., 2]), _chroma(cells))


def _gradients(brightness: npt.NDArray[np.int32]) -> npt.NDArray[np.float64]:
    """Return the square roots of the histograms, [N, 128]; integers until then, identical on every CPU."""
    across = brightness[:, 1:-1, 2:] - brightness[:, 1:-1, :-2]
    down = brightness[:, 2:, 1:-1] - brightness[:, :-2, 1:-1]
    direction = 4 * (across < 0) + 2 * (down < 0) + (np.abs(across) < np.abs(down))
    count, side, _ = direction.shape
    cell = np.arange(side) * _CELLS // side
    place = (cell[:, None] * _CELLS + cell) * _DIRECTIONS
    bins = _CELLS * _CELLS * _DIRECTIONS
    index = np.arange(count)[:, None, None] * bins + place + direction
    strength = np.abs(across) + np.abs(down)
    sums = np.bincount(index.ravel(), strength.ravel(), count * bins).reshape(count, bins)
    roots = np.sqrt(sums)
    shares: npt.NDArray[np.float64] = roots / np.sqrt(
        sums.sum(axis=1, keepdims=True) + _FLAT_OFFSET * side * side
    )
    return shares


def _chroma(cells: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the shares of red and green in each cell, 0…255, [N, 32]."""
    total = cells.sum(axis=3, keepdims=True) + _DARK_OFFSET
    shares: npt.NDArray[np.float64] = 255 * (cells[..., :2] / total).reshape(len(cells), -1)
    return shares

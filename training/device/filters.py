"""Separable filters as one matrix per picture: each picture of a batch has its own size and sharpness.

The weights are OpenCV's, so that a filter agrees with `cv2.resize` and `cv2.GaussianBlur`.
"""

from __future__ import annotations

import torch
from torch import Tensor

_CUBIC_A = -0.75


def apply_square(image: Tensor, matrix: Tensor) -> Tensor:
    """Filter the columns and rows of `image` [N, C, S, S] by `matrix` [N, S, S] (output, input)."""
    n, channels, height, width = image.shape
    along_x = torch.bmm(image.reshape(n, channels * height, width), matrix.transpose(1, 2))
    return torch.matmul(matrix[:, None], along_x.reshape(n, channels, height, -1))


def area_matrix(small: Tensor, side: int) -> Tensor:
    """Return the matrices [N, S, S] that average pictures down to sides `small` [N] px.

    The small picture is at the beginning; its last pixel repeats behind it.
    """
    place = torch.arange(side, device=small.device, dtype=torch.float32)
    cell = (side / small)[:, None, None]
    low = torch.minimum(place[None, :], small[:, None] - 1)[:, :, None] * cell
    overlap = torch.minimum(low + cell, place + 1) - torch.maximum(low, place)
    return overlap.clamp(min=0) / cell


def cubic_matrix(small: Tensor, side: int) -> Tensor:
    """Return the matrices [N, S, S] that enlarge the first `small` [N] px of a picture to all of it."""
    at, base = _source_places(small, side)
    taps = torch.arange(-1, 3, device=small.device)
    distance = (at[..., None] - (base[..., None] + taps)).abs()
    a = _CUBIC_A
    near = ((a + 2) * distance - (a + 3)) * distance**2 + 1
    far = ((a * distance - 5 * a) * distance + 8 * a) * distance - 4 * a
    weights = torch.where(distance <= 1, near, torch.where(distance < 2, far, torch.zeros_like(far)))
    return _scatter(weights, base[..., None] + taps, small, side=side)


def linear_matrix(small: Tensor, side: int) -> Tensor:
    """Return the matrices [N, S, S] of linear interpolation, as `cubic_matrix`."""
    at, base = _source_places(small, side)
    rest = at - base
    taps = torch.arange(2, device=small.device)
    return _scatter(torch.stack([1 - rest, rest], -1), base[..., None] + taps, small, side=side)


def gaussian_matrix(sigma: Tensor, side: int, *, reach: int) -> Tensor:
    """Return the matrices [N, S, S] of Gaussian blurs of standard deviations `sigma` [N] px; 0 keeps.

    The kernel reaches `reach` deviations far; pictures are mirrored at the centers of their outer pixels.
    """
    place = torch.arange(side, device=sigma.device, dtype=torch.float32)
    width = sigma.clamp(min=1e-3)[:, None, None]
    radius = torch.round(sigma * reach)[:, None, None]

    def weight(distance: Tensor) -> Tensor:
        value = torch.exp(-0.5 * (distance / width) ** 2)
        return torch.where(distance.abs() <= radius, value, torch.zeros_like(value))

    difference, total = place[:, None] - place, place[:, None] + place
    matrix = weight(difference)
    matrix = matrix + weight(total) * (place > 0)
    matrix = matrix + weight(2 * (side - 1) - total) * (place < side - 1)
    return matrix / matrix.sum(dim=2, keepdim=True)


def _source_places(small: Tensor, side: int) -> tuple[Tensor, Tensor]:
    place = torch.arange(side, device=small.device, dtype=torch.float32)
    at = (place + 0.5) * (small / side)[:, None] - 0.5
    return at, at.floor()


def _scatter(weights: Tensor, taps: Tensor, small: Tensor, *, side: int) -> Tensor:
    """Write the weights [N, S, T] of taps into rows of matrices; taps beyond the edges count for these."""
    index = torch.minimum(taps.clamp(min=0), small[:, None, None] - 1).long()
    out = weights.new_zeros(len(small), side, side)
    return out.scatter_add_(2, index, weights)

"""Sample pictures at given places, and 2 × 2 matrices of a batch; nothing here waits for the device."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor


def pixel_grid(side: int, device: torch.device) -> Tensor:
    """Return the places (x, y) [S, S, 2] of the pixels of a picture."""
    along = torch.arange(side, device=device, dtype=torch.float32)
    y, x = torch.meshgrid(along, along, indexing="ij")
    return torch.stack([x, y], dim=-1)


def sample(image: Tensor, at: Tensor, edges: Literal["border", "reflection"] = "border") -> Tensor:
    """Return `image` [N, C, H, W] at `at` [N, h, w, 2] (x, y) px, linearly interpolated.

    Beyond the edges, their pixels repeat, or the picture is mirrored at the centers of their pixels.
    """
    height, width = image.shape[-2:]
    x, y = at[..., 0] * (2 / max(width - 1, 1)) - 1, at[..., 1] * (2 / max(height - 1, 1)) - 1
    grid = torch.stack([x, y], dim=-1)
    return F.grid_sample(image, grid, mode="bilinear", padding_mode=edges, align_corners=True)


def transform(linear: Tensor, points: Tensor) -> Tensor:
    """Return `linear` [N, 2, 2] of points [N, ..., 2]."""
    shape = [-1] + [1] * (points.ndim - 2)
    x, y = points[..., 0], points[..., 1]
    rows = [linear[:, row, 0].reshape(shape) * x + linear[:, row, 1].reshape(shape) * y for row in (0, 1)]
    return torch.stack(rows, dim=-1)


def matrices(*rows: tuple[Tensor, Tensor]) -> Tensor:
    """Return the matrices [N, 2, 2] of two rows of values [N]."""
    return torch.stack([torch.stack(row, -1) for row in rows], -2)


def inverse(linear: Tensor) -> Tensor:
    """Return the inverse of matrices [N, 2, 2], unchecked: a check would wait for the device."""
    a, b, c, d = linear[:, 0, 0], linear[:, 0, 1], linear[:, 1, 0], linear[:, 1, 1]
    return matrices((d, -b), (-c, a)) / (a * d - b * c)[:, None, None]


def determinant(linear: Tensor) -> Tensor:
    """Return the determinants [N] of matrices [N, 2, 2]."""
    return linear[:, 0, 0] * linear[:, 1, 1] - linear[:, 0, 1] * linear[:, 1, 0]


def rotations(degrees: Tensor) -> Tensor:
    """Return the matrices [N, 2, 2] that turn x toward y by angles [N]."""
    angle = torch.deg2rad(degrees)
    cos, sin = angle.cos(), angle.sin()
    return matrices((cos, -sin), (sin, cos))

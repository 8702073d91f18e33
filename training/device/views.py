"""Render portraits into views: smooth warp, lighting, rotation, size, stretch and mirror, as on the CPU."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from deepfake_triton.training.augmentation.augment import FINE_GRID
from deepfake_triton.training.augmentation.camera_motion import MIRRORED_ORDER
from deepfake_triton.training.device.pair_table import Parameters
from deepfake_triton.training.device.portrait_bank import PortraitBank
from deepfake_triton.training.device.sampling import (
    determinant,
    inverse,
    matrices,
    pixel_grid,
    rotations,
    sample,
    transform,
)


@dataclass(frozen=True)
class Views:
    """Views of N portraits: `pixels` [N, 3, S, S] float32 RGB in 0…255, whole numbers.

    `boxes` [N, 4] and `landmarks` [N, 5, 2] are px of the views.
    """

    pixels: Tensor
    boxes: Tensor
    landmarks: Tensor


def render_views(bank: PortraitBank, rows: Parameters, side: int) -> Views:
    """Render views of `side` px, each face in the middle of its own."""
    index = rows.index("portrait")
    origin, size = bank.origins[index], bank.sizes[index]
    warp, gain = _fine(rows["warp"]), _fine(rows["gain"])

    def displacement(places: Tensor) -> Tensor:
        return sample(warp, _fine_places(places, origin, size)).permute(0, 2, 3, 1)

    box, landmarks = _move_face(bank.boxes[index], bank.landmarks[index], displacement)
    linear, own_center = _view_transform(rows, box)
    middle = side / 2
    back = inverse(linear)
    grid = pixel_grid(side, bank.device).expand(len(rows), -1, -1, -1)
    places = transform(back, grid - middle) + own_center[:, None, None]
    scale = determinant(linear).abs().sqrt()
    pixels = bank.sample(index, places + displacement(places), scale).round()
    light = sample(gain, _fine_places(places, origin, size))
    pixels = (pixels * light).round().clamp(0, 255)
    half = 0.5 * (box[:, 2:] - box[:, :2]) * scale[:, None]
    landmarks = transform(linear, landmarks - own_center[:, None]) + middle
    swapped = torch.stack([landmarks[:, point] for point in MIRRORED_ORDER], 1)
    landmarks = torch.where((rows["mirrored"] > 0)[:, None, None], swapped, landmarks)
    return Views(pixels, torch.cat([middle - half, middle + half], 1), landmarks)


def _fine(grid: Tensor) -> Tensor:
    """Return drawn grids [N, k, k, C] on finer ones [N, C, 40, 40]."""
    size = (FINE_GRID, FINE_GRID)
    return F.interpolate(grid.permute(0, 3, 1, 2), size=size, mode="bicubic", align_corners=False)


def _fine_places(places: Tensor, origin: Tensor, size: Tensor) -> Tensor:
    """Return where places [N, H, W, 2] px of the canvases are in the fine grids over the portraits."""
    own = places - origin[:, None, None]
    return (own + 0.5) * (FINE_GRID / size)[:, None, None] - 0.5


def _move_face(
    box: Tensor, landmarks: Tensor, displacement: Callable[[Tensor], Tensor]
) -> tuple[Tensor, Tensor]:
    """Return box [N, 4] and landmarks [N, 5, 2] after the warp: what is at p was read at p + warp(p)."""
    x1, y1, x2, y2 = box.unbind(1)
    corners = [torch.stack(corner, 1) for corner in ((x1, y1), (x2, y1), (x1, y2), (x2, y2))]
    points = torch.cat([torch.stack(corners, 1), landmarks], 1)
    points = points - displacement(points[:, None])[:, 0]
    a, b, c, d = points[:, :4].unbind(1)
    sides = [a[:, 0] + c[:, 0], a[:, 1] + b[:, 1], b[:, 0] + d[:, 0], c[:, 1] + d[:, 1]]
    return 0.5 * torch.stack(sides, 1), points[:, 4:]


def _view_transform(rows: Parameters, box: Tensor) -> tuple[Tensor, Tensor]:
    """Return the matrices [N, 2, 2] from canvas to view, and the points [N, 2] that go to its middle."""
    sides = box[:, 2:] - box[:, :2]
    scale = rows["face_px"] / sides.amax(1)
    ratio, shear = rows["stretch"].unbind(1)
    bend = matrices((ratio.sqrt(), shear), (torch.zeros_like(shear), ratio.rsqrt()))
    flip = torch.stack([1 - 2 * rows["mirrored"], torch.ones_like(scale)], 1)
    linear = scale[:, None, None] * (rotations(rows["rotation"]) @ bend) * flip[:, None, :]
    return linear, 0.5 * (box[:, :2] + box[:, 2:])

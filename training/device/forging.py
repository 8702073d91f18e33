"""Forge views in batches: the classic kinds of `training.forgery.blending`, in its steps and roundings."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from deepfake_triton.training.device.colors import jitter_colors, transfer_colors
from deepfake_triton.training.device.filters import (
    apply_square,
    area_matrix,
    cubic_matrix,
    gaussian_matrix,
)
from deepfake_triton.training.device.masks import draw_masks, eye_distances, face_to_image
from deepfake_triton.training.device.pair_table import Parameters
from deepfake_triton.training.device.portrait_bank import PortraitBank
from deepfake_triton.training.device.sampling import (
    inverse,
    matrices,
    pixel_grid,
    rotations,
    sample,
    transform,
)
from deepfake_triton.training.device.views import Views

_REACH = 3
_SKIN_SPREAD = 0.3
_SMALLEST_SIDE_PX = 4


@dataclass(frozen=True)
class Forged:
    """Fake counterparts [N, 3, S, S] float32 in 0…255, and how much of each pixel is forged [N, S, S]."""

    pixels: Tensor
    coverage: Tensor


def forge_views(
    bank: PortraitBank, rows: Parameters, views: Views, *, swaps: Tensor, noise: torch.Generator
) -> Forged:
    """Forge the faces of views; `swaps` [M] are the numbers of those that get another person's face."""
    side = views.pixels.shape[-1]
    mask = draw_masks(rows, views.landmarks, side)
    unit = eye_distances(views.landmarks)
    base = source = views.pixels
    if len(swaps):
        chosen = rows.rows(swaps)
        aligned = align_donors(bank, chosen, views.landmarks[swaps], side=side)
        source = source.index_copy(0, swaps, aligned)
    source = warp_faces(source, rows, views.landmarks, unit=unit)
    if len(swaps):
        own = source[swaps]
        toned = transfer_colors(own, base[swaps], mask[swaps])
        is_toned = chosen["transfers_colors"][:, None, None, None] > 0
        source = source.index_copy(0, swaps, torch.where(is_toned, toned, own))
    source = jitter_colors(source, rows["color_matrix"], rows["gamma"])
    source = add_artifacts(source, rows, unit, noise=noise)
    weight = (mask * rows["opacity"][:, None, None])[:, None]
    pixels = (base + weight * (source - base) + 0.5).floor()
    return Forged(pixels, weight[:, 0])


def align_donors(bank: PortraitBank, rows: Parameters, landmarks: Tensor, *, side: int) -> Tensor:
    """Return the donors' pictures [N, 3, S, S], moved onto landmarks [N, 5, 2] by similarities.

    Small faces come from the lower resolutions of the bank, where the CPU's alias.
    """
    index = rows.index("donor")
    own = bank.landmarks[index]
    center, target = own.mean(1, keepdim=True), landmarks.mean(1, keepdim=True)
    a, b = own - center, landmarks - target
    power = (a**2).sum((1, 2)).clamp(min=1e-9)
    real = (a * b).sum((1, 2)) / power
    imaginary = (a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]).sum(1) / power
    back = inverse(matrices((real, -imaginary), (imaginary, real)))
    grid = pixel_grid(side, landmarks.device).expand(len(rows), -1, -1, -1)
    places = transform(back, grid - target[:, None]) + center[:, None]
    return bank.sample(index, places, (real**2 + imaginary**2).sqrt()).round()


def warp_faces(source: Tensor, rows: Parameters, landmarks: Tensor, *, unit: Tensor) -> Tensor:
    """Shift, scale and rotate sources around the faces, and displace their skin locally."""
    side, n = source.shape[-1], len(source)
    center = landmarks.mean(1)
    back = inverse(rows["scale"][:, None, None] * rotations(rows["turn"]))
    target = center + unit[:, None] * rows["shift"]
    grid = pixel_grid(side, source.device).expand(n, -1, -1, -1)
    places = transform(back, grid - target[:, None, None]) + center[:, None, None]
    linear, shift = face_to_image(landmarks)
    at = transform(linear, rows["skin_shifts"][..., :2]) + shift[:, None]
    moved = unit[:, None, None] * rows["skin_shifts"][..., 2:]
    along = torch.arange(side, device=source.device, dtype=torch.float32)
    spread = (2 * (_SKIN_SPREAD * unit) ** 2)[:, None, None]
    # A Gaussian in two dimensions is the product of one in x and one in y: [N, S, K] each.
    fade_x, fade_y = (
        torch.exp(-((along[None, :, None] - at[:, None, :, axis]) ** 2) / spread) for axis in (0, 1)
    )
    displaced = [torch.bmm(fade_y * moved[:, None, :, axis], fade_x.transpose(1, 2)) for axis in (0, 1)]
    return sample(source, places - torch.stack(displaced, -1), "reflection").round()


def add_artifacts(source: Tensor, rows: Parameters, unit: Tensor, *, noise: torch.Generator) -> Tensor:
    """Add what generators leave: lower resolution, a checkerboard pattern, other sharpness and noise."""
    side = source.shape[-1]
    ratio = rows["low_px"] / unit
    ratio = torch.where((ratio > 0) & (ratio < 0.95), ratio, torch.ones_like(ratio))
    small = (side * ratio).round().clamp(min=_SMALLEST_SIDE_PX)
    low = apply_square(source, area_matrix(small, side)).round()
    source = apply_square(low, cubic_matrix(small, side)).round().clamp(0, 255)
    squares = (pixel_grid(side, source.device).sum(-1) % 2) * 2 - 1
    soft = apply_square(source, gaussian_matrix(0.025 * unit + 0.4, side, reach=_REACH)).round()
    pattern = _each(rows["checkerboard"] / 2) * squares
    grain = torch.randn(source.shape, generator=noise, device=source.device)
    changed = (
        source + pattern + _each(rows["sharpen"]) * (source - soft) + _each(rows["forged_noise"]) * grain
    )
    return changed.round().clamp(0, 255)


def _each(values: Tensor) -> Tensor:
    return values[:, None, None, None]

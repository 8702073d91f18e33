"""Blending masks of a batch: the outlines of `training.forgery.masks`, filled and blurred."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from deepfake_triton.training.device.constants import per_device
from deepfake_triton.training.device.filters import apply_square, gaussian_matrix
from deepfake_triton.training.device.pair_table import Parameters
from deepfake_triton.training.device.sampling import transform
from deepfake_triton.training.forgery.masks import LANDMARKS, OUTLINES, REGIONS

_REACH = 4
_SHARPEST_PX = 0.3
_BENDS = 8


def _fit_matrix() -> Tensor:
    known = np.column_stack([LANDMARKS, np.ones(len(LANDMARKS))])
    return torch.from_numpy(np.linalg.pinv(known)).float()


def _outlines() -> Tensor:
    """Return each region's outline [R, V, 2], its last point repeated up to the longest one's number."""
    longest = max(len(outline) for outline in OUTLINES.values())
    padded = [
        np.concatenate([OUTLINES[name], np.repeat(OUTLINES[name][-1:], longest - len(OUTLINES[name]), 0)])
        for name in REGIONS
    ]
    return torch.from_numpy(np.stack(padded)).float()


def _centers() -> Tensor:
    return torch.from_numpy(np.stack([OUTLINES[name].mean(axis=0) for name in REGIONS])).float()


_FIT, _OUTLINES, _CENTERS = per_device(_fit_matrix), per_device(_outlines), per_device(_centers)


def face_to_image(landmarks: Tensor) -> tuple[Tensor, Tensor]:
    """Fit affine transforms from face coordinates to landmarks [N, 5, 2] px: [N, 2, 2] and shifts [N, 2]."""
    fitted = torch.einsum("kp,npc->nck", _FIT(landmarks.device), landmarks)
    return fitted[:, :, :2], fitted[:, :, 2]


def eye_distances(landmarks: Tensor) -> Tensor:
    """Return the units of face coordinates [N] in px, as `forgery.masks.eye_distance`."""
    linear, _ = face_to_image(landmarks)
    across, along = linear[:, :, 0].norm(dim=1), linear[:, :, 1].norm(dim=1)
    return torch.maximum(across, 0.6 * along).clamp(min=1)


def draw_masks(rows: Parameters, landmarks: Tensor, side: int) -> Tensor:
    """Draw the masks [N, S, S] float32 in 0…1 of faces at `landmarks` [N, 5, 2] px."""
    mask = fill_polygons(_bent_outlines(rows, landmarks), side)
    sigma_px = rows["blur"] * eye_distances(landmarks)
    sigma_px = torch.where(sigma_px > _SHARPEST_PX, sigma_px, torch.zeros_like(sigma_px))
    blurred = apply_square(mask[:, None], gaussian_matrix(sigma_px, side, reach=_REACH))[:, 0]
    erode = rows["erode"][:, None, None]
    return ((blurred - erode) / (1 - erode)).clamp(0, 1)


def _bent_outlines(rows: Parameters, landmarks: Tensor) -> Tensor:
    """Return the outlines [N, V, 2] in px, grown and bent."""
    region, device = rows.index("region"), landmarks.device
    center = _CENTERS(device)[region][:, None]
    relative = _OUTLINES(device)[region] - center
    turns = torch.atan2(relative[..., 1], relative[..., 0]) / (2 * torch.pi) % 1 * _BENDS
    low = turns.floor()
    rest = (turns - low)[..., None]
    before = low.long() % _BENDS
    bend = rows["bend"]
    bent = (1 - rest) * _pick(bend, before) + rest * _pick(bend, (before + 1) % _BENDS)
    outline = center + relative * rows["grow"][:, None, None] + bent
    linear, shift = face_to_image(landmarks)
    points = transform(linear, outline)
    outward = points - transform(linear, center)
    # OpenCV also fills the pixels that the outline itself crosses.
    grown: Tensor = points + 0.5 * outward / outward.norm(dim=2, keepdim=True).clamp(min=1e-3)
    return grown + shift[:, None]


def _pick(values: Tensor, index: Tensor) -> Tensor:
    """Return `values` [N, K, 2] at `index` [N, V]."""
    return values.gather(1, index[..., None].expand(-1, -1, values.shape[-1]))


def fill_polygons(points: Tensor, side: int) -> Tensor:
    """Fill polygons of corners [N, V, 2] px in masks [N, S, S] of 0…1; crossed pixels count in part.

    Each edge adds its sign to the pixels right of where it crosses their row: a sum along the row fills.
    """
    n = len(points)
    x, y = points[..., 0], points[..., 1]
    next_x, next_y = x.roll(-1, 1), y.roll(-1, 1)
    row = torch.arange(side, device=points.device, dtype=points.dtype)[None, :, None]
    sign = (y[:, None] <= row).float() - (next_y[:, None] <= row).float()
    slope = (next_x - x) / torch.where(next_y == y, torch.ones_like(y), next_y - y)
    crossing = (x[:, None] + (row - y[:, None]) * slope[:, None] + 0.5).clamp(0, side)
    first = crossing.floor()
    rest = crossing - first
    steps = points.new_zeros(n, side, side + 2)
    steps.scatter_add_(2, first.long(), sign * (1 - rest))
    steps.scatter_add_(2, first.long() + 1, sign * rest)
    filled: Tensor = steps.cumsum(2)[:, :, :side].abs().clamp(0, 1)
    return filled

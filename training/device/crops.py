"""Cut the faces of a batch out of their views by the crop rule, as `preprocessing.crops.crop_face` does."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from deepfake_triton.preprocessing.crops import CropRule
from deepfake_triton.training.device.pair_table import Parameters
from deepfake_triton.training.device.sampling import pixel_grid, sample


def crop_faces(images: Tensor, boxes: Tensor, rule: CropRule, *, samples: int) -> Tensor:
    """Crop the faces in `boxes` [N, 4] px of `images` [N, C, H, W] to [N, C, S, S].

    Each pixel is the average of `samples` × `samples` places; `samples_per_pixel` tells how many suffice.
    """
    x1, y1, x2, y2 = boxes.unbind(1)
    longer = torch.maximum(x2 - x1, y2 - y1).clamp(min=1)
    length = longer * (1 + 2 * rule.margin)
    step = length / (rule.side * samples)
    corner = 0.5 * torch.stack([x1 + x2 - length + step - 1, y1 + y2 - length + step - 1], 1)
    grid = pixel_grid(rule.side * samples, images.device)
    places = step[:, None, None, None] * grid + corner[:, None, None]
    sampled = sample(images, places)
    return F.avg_pool2d(sampled.round(), samples) if samples > 1 else sampled


def cover_holes(crops: Tensor, rows: Parameters) -> Tensor:
    """Hide the rectangle of each row with a hole in `crops` [N, C, S, S]."""
    side = crops.shape[-1]
    along = torch.arange(side, device=crops.device)
    top, bottom, left, right = rows["hole"][:, :, None].unbind(1)
    in_rows, in_columns = (along >= top) & (along < bottom), (along >= left) & (along < right)
    hidden = in_rows[:, None, :, None] & in_columns[:, None, None, :]
    return torch.where(hidden, rows["hole_color"][:, :, None, None], crops)

"""Cut the faces of a batch out of their views by the crop rule, as `preprocessing.crops.crop_face` does."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from deepfake_triton.preprocessing.crops import CropRule
from deepfake_triton.training.augmentation.degradations import SMALLEST_SIDE_PX
from deepfake_triton.training.device.pair_table import PairTable, Parameters
from deepfake_triton.training.device.sampling import pixel_grid, sample


def crop_faces(images: Tensor, boxes: Tensor, rule: CropRule, *, samples: int) -> Tensor:
    """Crop the faces in `boxes` [N, 4] px of `images` [N, C, H, W] to [N, C, S, S].

    Each pixel is the average of `samples` × `samples` places; `samples_per_pixel` tells how many it takes.
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


def samples_per_pixel(table: PairTable, rule: CropRule, *, side: int) -> npt.NDArray[np.int64]:
    """Return how many places along a side [N] `crop_face` averages, for views of `side` px.

    Known before anything is rendered: a face has the size that is asked for.
    """
    scale = np.maximum(np.round(side * table["all_scale"]), SMALLEST_SIDE_PX) / side
    length = (table["face_px"] + table["move"][:, 2] - table["move"][:, 0]) * scale * (1 + 2 * rule.margin)
    return np.asarray(np.maximum(1, np.ceil(length / rule.side)), np.int64)


def group_by_samples(samples: npt.NDArray[np.int64]) -> dict[int, npt.NDArray[np.int64]]:
    """Return the numbers of the real crops and their fake counterparts [2N] that take so many places each."""
    both = np.concatenate([samples, samples])
    return {int(count): np.flatnonzero(both == count) for count in np.unique(samples)}


def cover_holes(crops: Tensor, rows: Parameters) -> Tensor:
    """Hide the rectangle of each row with a hole in `crops` [N, C, S, S]."""
    side = crops.shape[-1]
    along = torch.arange(side, device=crops.device)
    top, bottom, left, right = rows["hole"][:, :, None].unbind(1)
    in_rows, in_columns = (along >= top) & (along < bottom), (along >= left) & (along < right)
    hidden = in_rows[:, None, :, None] & in_columns[:, None, None, :]
    return torch.where(hidden, rows["hole_color"][:, :, None, None], crops)

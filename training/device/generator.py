"""Batches of real crops and their fake counterparts, made on the device from a table of parameters.

Pairs of like sizes are made together, in views of one size. What a batch shows follows from its table,
but for the noise, which is drawn on the device, and for the order in which a GPU adds up numbers. No step
waits for the device: what applies to some pairs only is known from the table before it is copied.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from deepfake_triton.preprocessing.crops import CropRule
from deepfake_triton.training.augmentation.pair_draws import VIEW_PER_CROP
from deepfake_triton.training.device.crops import (
    cover_holes,
    crop_faces,
    group_by_samples,
    samples_per_pixel,
)
from deepfake_triton.training.device.degrading import StepRows, degrade_pairs, motion_kernels
from deepfake_triton.training.device.drawing import SIZE_BUCKETS, largest_crop_px, size_buckets
from deepfake_triton.training.device.forging import forge_views
from deepfake_triton.training.device.pair_table import PairTable, Parameters
from deepfake_triton.training.device.portrait_bank import PortraitBank
from deepfake_triton.training.device.uploads import upload
from deepfake_triton.training.device.views import render_views

_MACROBLOCK_PX = 16
_LARGEST_MOVE = 1.08
"""By how much of its size the moved sides of a crop may make it larger."""


@dataclass(frozen=True)
class TensorBatch:
    """Crops [N, S, S, 3] uint8 RGB and labels [N] int64 (0 real, 1 fake) on the device.

    `mask_coverage` [N, S, S] uint8, where it is known, is how much of each pixel is forged (0…255).
    `workers_share` is the part that worker processes made, None where they make all.
    """

    crops: Tensor
    labels: Tensor
    mask_coverage: Tensor | None = None
    workers_share: float | None = None


class PairGenerator:
    """Generator of batches from a bank of portraits, cut by `rule`."""

    def __init__(self, bank: PortraitBank, rule: CropRule) -> None:
        self.bank, self.rule = bank, rule

    @torch.no_grad()
    def make(self, table: PairTable) -> TensorBatch:
        """Make the pairs of a table: all real crops, then their fake counterparts in the same order."""
        parts, buckets = [], size_buckets(table, self.rule)
        # Views of many sizes: to time the algorithms for each would cost more than it gains.
        with _untimed_algorithms():
            for bucket in range(SIZE_BUCKETS):
                chosen = np.flatnonzero(buckets == bucket)
                if len(chosen):
                    parts.append(self._make_bucket(table.rows(chosen), bucket))
        real, fake, coverage = (torch.cat([part[i] for part in parts]) for i in range(3))
        labels = torch.arange(2 * len(table), device=self.bank.device) // len(table)
        return TensorBatch(torch.cat([real, fake]), labels, torch.cat([torch.zeros_like(coverage), coverage]))

    def _make_bucket(self, table: PairTable, bucket: int) -> tuple[Tensor, Tensor, Tensor]:
        largest_px = largest_crop_px(bucket)
        side = math.ceil(VIEW_PER_CROP * largest_px / _MACROBLOCK_PX) * _MACROBLOCK_PX
        samples_per_side = math.ceil(_LARGEST_MOVE * largest_px / self.rule.side)
        return make_pairs(
            self.bank,
            table,
            self.rule,
            side=side,
            samples_per_side=samples_per_side,
            seed=SIZE_BUCKETS * table.seed + bucket,
        )


@contextmanager
def _untimed_algorithms() -> Iterator[None]:
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = False
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before


def make_pairs(
    bank: PortraitBank, table: PairTable, rule: CropRule, *, side: int, samples_per_side: int, seed: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Make pairs in views of `side` px, a multiple of 16.

    Each pixel of the coverage's crops averages `samples_per_side`² places. Returns real and fake crops
    [N, S, S, 3] and the mask coverage [N, S, S] of the fake ones, all uint8.
    """
    device, noise = bank.device, torch.Generator(bank.device)
    noise.manual_seed(seed)
    rows, swaps, steps = _upload(table, rule, device)
    sampled = {
        count: upload(chosen, device)
        for count, chosen in group_by_samples(samples_per_pixel(table, rule, side=side)).items()
    }
    views = render_views(bank, rows, side)
    forged = forge_views(bank, rows, views, swaps=swaps, noise=noise)
    images, scale = degrade_pairs(torch.cat([views.pixels, forged.pixels]), rows, steps, noise=noise)
    boxes = views.boxes + rows["move"]
    scaled = (boxes * scale[:, None]).repeat(2, 1)
    crops = images.new_empty(len(images), 3, rule.side, rule.side)
    for count, chosen in sampled.items():
        crops.index_copy_(0, chosen, crop_faces(images[chosen], scaled[chosen], rule, samples=count))
    crops = crops.round().clamp(0, 255)
    real, fake = (cover_holes(part, rows) for part in crops.chunk(2))
    coverage = crop_faces(255 * forged.coverage[:, None], boxes, rule, samples=samples_per_side)[:, 0]
    pixels = [part.byte().permute(0, 2, 3, 1).contiguous() for part in (real, fake)]
    return pixels[0], pixels[1], coverage.round().clamp(0, 255).byte()


def _upload(table: PairTable, rule: CropRule, device: torch.device) -> tuple[Parameters, Tensor, StepRows]:
    """Copy a table and the numbers of the pairs that each step applies to, in two copies and one more."""
    where = [
        table["is_swap"] > 0,
        table["motion_blur"].any(axis=1),
        table["earlier_quality"] > 0,
        table["chroma_scale"] < 1,
        table["jpeg_quality"] > 0,
        table["h264_crf"] > 0,
    ]
    numbers: list[npt.NDArray[np.int64]] = [np.flatnonzero(one) for one in where]
    swaps, motion, earlier, chroma, jpeg, h264 = torch.split(
        upload(np.concatenate(numbers), device), [len(one) for one in numbers]
    )
    kernels = upload(motion_kernels(table, rule), device)
    steps = StepRows(motion, kernels, earlier=earlier, chroma=chroma, jpeg=jpeg, h264=h264)
    return Parameters(upload(table.values, device)), swaps, steps

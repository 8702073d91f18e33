"""Samples in no time, in a module that worker processes can import."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from deepfake_triton.training.augmentation.stills import CropBatch
from deepfake_triton.training.samples.sources import ForgedData


def constant_strength(step: int) -> float:
    del step
    return 1.0


class QuickSamples:
    """The CPU's batches in no time, each crop as bright as its batch's number."""

    def load_batches(
        self, first: int, pairs: int, *, strengths: Sequence[float], uses: int
    ) -> list[CropBatch]:
        crops = np.full((2 * pairs, 32, 32, 3), first % 256, np.uint8)
        batch = CropBatch(crops, np.repeat([0, 1], pairs), np.zeros((2 * pairs, 32, 32), np.uint8))
        return [batch] * (len(strengths) * uses)


class QuickForgedData(ForgedData):
    """Faces to be forged on a device; the workers' pairs beside it take no time."""

    def load_batches(
        self, first: int, pairs: int, *, strengths: Sequence[float], uses: int
    ) -> list[CropBatch]:
        return QuickSamples().load_batches(200, pairs, strengths=strengths, uses=uses)


class BrokenSamples(QuickSamples):
    def load_batches(
        self, first: int, pairs: int, *, strengths: Sequence[float], uses: int
    ) -> list[CropBatch]:
        raise OSError("the disk is gone")

"""Held-out crops of the training curve, made beside the first steps where there are worker processes."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch

from deepfake_triton.training.augmentation.stills import CropBatch
from deepfake_triton.training.samples.loader import iterate_in_order
from deepfake_triton.training.samples.sources import TrainingData

_FIRST_INDEX = 10**6
_MOST_PAIRS = 32
"""Larger batches are made in parts, so that several workers share them."""


class ValidationCrops:
    """About `total` pairs of held-out people, always the same, forged at a strength of 1.

    They come in batches of at most `pairs`. With two `workers` or more, they are made from now on; else
    when they are first used.
    """

    def __init__(self, data: TrainingData, *, pairs: int, total: int, workers: int) -> None:
        self._parts = _Parts(data, max(1, min(pairs, total, _MOST_PAIRS)))
        self._numbers = range(max(1, total // self._parts.pairs))
        self._batch: CropBatch | None = None
        self._made: Future[CropBatch] | None = None
        if workers > 1:
            pool = ThreadPoolExecutor(1)
            self._made = pool.submit(self._make, workers)
            pool.shutdown(wait=False)

    def batch(self) -> CropBatch:
        """Return the crops and labels; waits for what is not made yet."""
        if self._batch is None:
            self._batch = self._made.result() if self._made else self._make(workers=0)
        return self._batch

    def _make(self, workers: int) -> CropBatch:
        parts = list(iterate_in_order(self._parts, self._numbers, min(workers, len(self._numbers))))
        return CropBatch(
            np.concatenate([part.crops for part in parts]), np.concatenate([part.labels for part in parts])
        )


class _Parts(torch.utils.data.Dataset[CropBatch]):
    """Parts of the held-out crops by their number."""

    def __init__(self, data: TrainingData, pairs: int) -> None:
        self.data, self.pairs = data, pairs

    def __getitem__(self, number: int) -> CropBatch:
        return self.data.load_batch(_FIRST_INDEX + number, self.pairs, 1.0)

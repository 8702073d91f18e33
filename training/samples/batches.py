"""Batches of crops by step, made in worker processes; forged pairs may serve in several batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

from deepfake_triton.training.augmentation.stills import CropBatch
from deepfake_triton.training.samples.loader import iterate_in_order
from deepfake_triton.training.samples.sources import TrainingData

_PAIRS_PER_UNIT = 64
_MAX_BATCHES_PER_UNIT = 4
_PREFETCHED_BATCHES = 8


@dataclass(frozen=True)
class BatchPlan:
    """How batches follow from their steps: `pairs` in each, every pair in `uses` batches.

    Steps come in units of some new batches and as many others, for each further use, of the same pairs.
    `first_index` is that of the random numbers of step 0; `end` is the step after the last.
    """

    pairs: int
    uses: int
    first_index: int
    end: int

    @property
    def new_batches(self) -> int:
        """New batches of a unit: more of them put the uses of a pair further apart."""
        return 1 if self.uses == 1 else max(1, min(_MAX_BATCHES_PER_UNIT, _PAIRS_PER_UNIT // self.pairs))

    @property
    def unit(self) -> int:
        """Steps of a unit."""
        return self.new_batches * self.uses


def iterate_batches(
    data: TrainingData,
    plan: BatchPlan,
    *,
    start: int,
    strength: Callable[[int], float],
    workers: int,
) -> Iterator[CropBatch]:
    """Yield the batches of the steps from `start` up to the plan's end.

    `strength` is that of the forgeries of a step; it is called where the batch is made. A run that resumes
    inside a unit makes that unit again.
    """
    units = range(start // plan.unit, -(-plan.end // plan.unit))
    ahead = max(1, _PREFETCHED_BATCHES // plan.unit)
    loaded = iterate_in_order(_Units(data, plan, strength), units, workers, ahead=ahead)
    for unit, batches in zip(units, loaded, strict=True):
        for step, batch in enumerate(batches, unit * plan.unit):
            if start <= step < plan.end:
                yield batch


class _Units(torch.utils.data.Dataset[list[CropBatch]]):
    """Batches by the number of their unit."""

    def __init__(self, data: TrainingData, plan: BatchPlan, strength: Callable[[int], float]) -> None:
        self.data, self.plan, self.strength = data, plan, strength

    def __getitem__(self, unit: int) -> list[CropBatch]:
        plan, first = self.plan, unit * self.plan.unit
        steps = range(first, min(first + plan.new_batches, plan.end))
        return self.data.load_batches(
            plan.first_index + first,
            plan.pairs,
            strengths=[self.strength(step) for step in steps],
            uses=plan.uses,
        )

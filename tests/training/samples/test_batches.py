"""Batches by step: every pair in as many as asked for, whatever step a run resumes at."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from support import backdrop

from deepfake_triton.preprocessing.crops import CropRule
from deepfake_triton.training.augmentation.stills import CropBatch
from deepfake_triton.training.faces.portraits import Portrait
from deepfake_triton.training.samples.batches import BatchPlan, iterate_batches
from deepfake_triton.training.samples.sources import ForgedData, LabeledClip

pytestmark = pytest.mark.fast

LANDMARKS = np.array([[120.0, 110], [180, 112], [150, 150], [128, 190], [172, 188]])


def forged() -> ForgedData:
    portraits = [
        Portrait(
            np.roll(backdrop(300, 300), shift, axis=1), np.array([90.0, 70, 210, 220]), LANDMARKS, "", name
        )
        for name, shift in (("a", 0), ("b", 40))
    ]
    return ForgedData(portraits, CropRule(32), num_frames=2, seed=0)


class Numbered:
    """Batches that say what they were asked for."""

    def load_batches(
        self, first: int, pairs: int, *, strengths: Sequence[float], uses: int
    ) -> list[CropBatch]:
        labels = [(first + i, use) for use in range(uses) for i in range(len(strengths))]
        return [CropBatch(np.full((pairs, 1, 1, 3), strengths[0]), np.array(known)) for known in labels]

    def load_batch(self, index: int, pairs: int, strength: float) -> CropBatch:
        raise NotImplementedError

    def load_clips(self, index: int) -> list[LabeledClip]:
        raise NotImplementedError

    def num_clips(self, rounds: int) -> int:
        raise NotImplementedError


def test_steps_come_in_order_from_any_start() -> None:
    plan = BatchPlan(pairs=16, uses=2, first_index=100, end=11)
    assert (plan.new_batches, plan.unit) == (4, 8)

    def asked_for(start: int) -> list[tuple[int, ...]]:
        batches = iterate_batches(Numbered(), plan, start=start, strength=float, workers=0)
        return [tuple(batch.labels.tolist()) for batch in batches]

    whole = asked_for(0)
    assert whole[:8] == [(100 + i, use) for use in (0, 1) for i in range(4)]
    assert whole[8:] == [(108, 0), (109, 0), (110, 0)]
    assert all(asked_for(start) == whole[start:] for start in (1, 5, 8, 10))
    assert BatchPlan(16, 1, first_index=0, end=9).unit == 1
    assert BatchPlan(256, 2, first_index=0, end=9).unit == 2


def test_each_pair_is_in_as_many_batches_as_asked_for() -> None:
    data = forged()
    once = data.load_batches(5, 3, strengths=[1.0, 2.0], uses=1)
    twice = data.load_batches(5, 3, strengths=[1.0, 2.0], uses=2)
    assert len(once) == 2 and len(twice) == 4
    assert all((a.crops == b.crops).all() for a, b in zip(once, twice[:2], strict=True))
    assert (once[0].crops == data.load_batch(5, 3, 1.0).crops).all()

    def mean_colors(batches: list[CropBatch]) -> np.ndarray:
        means = np.concatenate([batch.crops[:3].mean(axis=(1, 2)) for batch in batches])
        return means[np.argsort(means.sum(axis=1))]

    assert all(batch.labels.tolist() == [0] * 3 + [1] * 3 for batch in twice)
    np.testing.assert_allclose(mean_colors(twice[2:]), mean_colors(twice[:2]), atol=25)
    assert all((a.crops != b.crops).any() for a in twice[:2] for b in twice[2:])

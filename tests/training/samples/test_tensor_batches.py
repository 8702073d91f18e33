"""Batches as tensors: copied, generated on the device, and the CPU's pairs beside them."""

from __future__ import annotations

import time
from contextlib import closing

import pytest
import torch
from drawn_portraits import drawn_portraits
from sample_stand_ins import BrokenSamples, QuickForgedData, QuickSamples, constant_strength

from deepfake_triton.preprocessing.crops import CropRule
from deepfake_triton.training.augmentation.pair_options import PairOptions
from deepfake_triton.training.augmentation.stills import CropBatch
from deepfake_triton.training.device.generator import PairGenerator, TensorBatch
from deepfake_triton.training.device.pair_table import PairTable
from deepfake_triton.training.samples.batches import BatchPlan
from deepfake_triton.training.samples.sources import ForgedData
from deepfake_triton.training.samples.tensor_batches import (
    LARGEST_CPU_SHARE,
    BatchSource,
    _CpuPairs,
    iterate_tensor_batches,
    require_cpu_pairs,
)
from deepfake_triton.training.samples.validation import ValidationCrops

pytestmark = pytest.mark.compute

CPU = torch.device("cpu")


def forged(side: int = 32) -> ForgedData:
    return ForgedData(drawn_portraits(2), CropRule(side), num_frames=2, seed=0)


def test_batches_of_the_cpu_are_copied_as_they_are() -> None:
    data, plan = forged(), BatchPlan(2, 1, first_index=5, end=3)
    source = BatchSource(data, CPU, workers=0)
    batches = list(iterate_tensor_batches(source, plan, start=1, strength=constant_strength))
    expected = [data.load_batch(index, 2, 1.0) for index in (6, 7)]
    for batch, known in zip(batches, expected, strict=True):
        assert (batch.crops.numpy() == known.crops).all() and (batch.labels.numpy() == known.labels).all()
        assert batch.mask_coverage is not None and known.mask_coverage is not None
        assert (batch.mask_coverage.numpy() == known.mask_coverage).all()


def test_generated_batches_follow_from_the_seed_and_the_step() -> None:
    source, plan = BatchSource(forged(), CPU, 0, on_device=True), BatchPlan(2, 2, first_index=7, end=3)

    def batches(start: int) -> list[torch.Tensor]:
        made = iterate_tensor_batches(source, plan, start=start, strength=constant_strength)
        return [batch.crops for batch in made]

    whole = batches(0)
    assert len(whole) == 3 and all(crops.shape == (4, 32, 32, 3) for crops in whole)
    assert torch.equal(batches(2)[0], whole[2]) and not torch.equal(whole[0], whole[1])


def generated(plan: BatchPlan, start: int = 0) -> list[TensorBatch]:
    source = BatchSource(forged(), CPU, 0, on_device=True)
    return list(iterate_tensor_batches(source, plan, start=start, strength=constant_strength))


def test_generated_pairs_are_used_as_often_as_asked_and_mirrored_every_second_time() -> None:
    first, mirrored, third, other = generated(BatchPlan(2, 3, first_index=7, end=4))
    assert torch.equal(mirrored.crops, first.crops.flip(2)) and not torch.equal(mirrored.crops, first.crops)
    assert torch.equal(third.crops, first.crops) and not torch.equal(other.crops, first.crops)
    assert first.labels.tolist() == mirrored.labels.tolist() == [0, 0, 1, 1]
    assert first.mask_coverage is not None and mirrored.mask_coverage is not None
    assert torch.equal(mirrored.mask_coverage, first.mask_coverage.flip(2))
    assert (first.mask_coverage[2:] != mirrored.mask_coverage[2:]).any(), "a mask lies to one side"


def test_a_run_that_goes_on_between_two_uses_makes_what_it_would_have_made() -> None:
    plan = BatchPlan(2, 2, first_index=7, end=3)
    whole, later = generated(plan), generated(plan, start=1)
    assert [len(whole), len(later)] == [3, 2]
    assert all(torch.equal(a.crops, b.crops) for a, b in zip(later, whole[1:], strict=True))


def test_pairs_that_give_way_are_others_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each use drops as many pairs as the workers bring, from the other end, so that all are in one."""
    alone = generated(BatchPlan(18, 2, first_index=0, end=1))[0].crops.chunk(2)[0]
    ready = QuickSamples().load_batches(77, 16, strengths=[1.0], uses=1)
    monkeypatch.setattr(_CpuPairs, "take", lambda *_: ready)
    first, second = (batch.crops[:2] for batch in generated(BatchPlan(18, 2, first_index=0, end=2)))
    assert torch.equal(first, alone[:2]) and torch.equal(second, alone[-2:].flip(2))


def take(pairs: _CpuPairs, step: int, count: int) -> list[CropBatch]:
    deadline = time.monotonic() + 60
    taken: list[CropBatch] = []
    while len(taken) < count:
        assert time.monotonic() < deadline
        taken += pairs.take(step)
        time.sleep(0.01)
    return taken


def test_pairs_of_the_cpu_are_taken_as_they_come_up_to_their_share() -> None:
    plan = BatchPlan(128, 1, first_index=3, end=10**6)
    pairs = _CpuPairs(QuickSamples(), plan, constant_strength)  # type: ignore[arg-type]
    assert pairs.take(0) == []  # nothing is waited for
    with pairs.running(1, start=0):
        taken = take(pairs, 0, 12)
        time.sleep(0.2)
        batch = pairs.take(1)
        assert len(batch) * 16 <= LARGEST_CPU_SHARE * plan.pairs
    numbers = [int(batch.crops[0, 0, 0, 0]) for batch in taken]
    assert numbers == sorted(numbers) and numbers[0] == 3


def test_a_fault_of_a_worker_is_raised_once() -> None:
    torch.utils.data._utils.signal_handling._set_SIGCHLD_handler()  # as by workers of the main thread
    pairs = _CpuPairs(BrokenSamples(), BatchPlan(128, 1, first_index=0, end=99), constant_strength)  # type: ignore[arg-type]
    with pytest.raises(OSError, match="the disk is gone"), pairs.running(1, start=0):
        take(pairs, 0, 1)
    for _ in range(50):  # nor does one that the end of its thread killed say so here
        time.sleep(0.01)


def test_a_batch_holds_both_generators_pairs_and_keeps_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    ready = QuickSamples().load_batches(77, 16, strengths=[1.0], uses=1)
    monkeypatch.setattr(_CpuPairs, "take", lambda *_: ready)
    source, plan = BatchSource(forged(), CPU, 0, on_device=True), BatchPlan(20, 1, first_index=0, end=2)
    with closing(iterate_tensor_batches(source, plan, start=0, strength=constant_strength)) as made:
        batch = next(made)
    assert batch.crops.shape == (40, 32, 32, 3) and int(batch.labels.sum()) == 20
    assert batch.mask_coverage is not None and batch.mask_coverage.shape == (40, 32, 32)
    assert (batch.crops[8:] == 77).all() and batch.labels[8:].tolist() == [0] * 16 + [1] * 16
    assert batch.crops[:8].float().std() > 5


def test_the_fewest_pairs_and_workers_give_both_generators_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    """With 64 pairs and two workers, of which one draws parameters, the other's pairs are in some batches."""

    def quick(_: PairGenerator, table: PairTable) -> TensorBatch:
        count = 2 * len(table)
        crops, labels = torch.zeros(count, 32, 32, 3, dtype=torch.uint8), torch.arange(count) // len(table)
        time.sleep(0.02)
        return TensorBatch(crops, labels, torch.zeros(count, 32, 32, dtype=torch.uint8))

    monkeypatch.setattr(PairGenerator, "make", quick)
    require_cpu_pairs(PairOptions(frozenset({"edits"})), pairs=64, workers=2)
    data = QuickForgedData(drawn_portraits(2), CropRule(32), num_frames=2, seed=0)
    source, plan = BatchSource(data, CPU, 2, on_device=True), BatchPlan(64, 1, first_index=0, end=10**4)
    deadline = time.monotonic() + 120
    with closing(iterate_tensor_batches(source, plan, start=0, strength=constant_strength)) as made:
        for batch in made:
            assert time.monotonic() < deadline and batch.crops.shape == (128, 32, 32, 3)
            theirs = (batch.crops == 200).all(dim=(1, 2, 3)) if batch.workers_share else torch.zeros(128)
            assert float(theirs.float().mean()) == batch.workers_share
            if batch.workers_share:
                break
    assert batch.workers_share == 0.25 and int(batch.labels.sum()) == 64


@pytest.mark.parametrize(("pairs", "total", "expected"), [(2, 6, 6), (64, 40, 32), (4, 2, 2)])
def test_held_out_crops_are_the_same_whoever_makes_them(pairs: int, total: int, expected: int) -> None:
    alone = ValidationCrops(forged(), pairs=pairs, total=total, workers=0).batch()
    assert len(alone.crops) == 2 * expected and alone.labels.mean() == 0.5
    if total == 6:
        beside = ValidationCrops(forged(), pairs=pairs, total=total, workers=2)
        assert (beside.batch().crops == alone.crops).all() and beside.batch() is beside.batch()

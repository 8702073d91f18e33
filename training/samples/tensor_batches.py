"""Batches as tensors on the device: copied from worker processes, or generated there with theirs beside."""

from __future__ import annotations

import itertools
import queue
import threading
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from deepfake_triton.errors import DatasetError
from deepfake_triton.training.augmentation.pair_options import PairOptions
from deepfake_triton.training.augmentation.stills import CropBatch
from deepfake_triton.training.device.drawing import PairDrawer
from deepfake_triton.training.device.generator import PairGenerator, TensorBatch
from deepfake_triton.training.device.pair_table import PairTable
from deepfake_triton.training.device.portrait_bank import build_bank
from deepfake_triton.training.device.uploads import upload
from deepfake_triton.training.forgery.kinds import CLASSIC_KINDS
from deepfake_triton.training.samples.batches import BatchPlan, iterate_batches
from deepfake_triton.training.samples.loader import iterate_in_order
from deepfake_triton.training.samples.sources import ForgedData, TrainingData

LARGEST_CPU_SHARE = 0.25
"""Part of a batch generated on the device that the CPU's pairs, with real x264, may take."""
_TABLE_STREAM = 5  # of random numbers; see sources.py
_TABLE_WORKERS_SHARE = 0.25
_PREFETCHED_TABLES = 8
_CPU_PAIRS, _QUEUED_CPU_BATCHES = 16, 8
_FEWEST_PAIRS, _FEWEST_WORKERS = round(_CPU_PAIRS / LARGEST_CPU_SHARE), 2
"""Pairs in a batch, and workers, under which no worker's pairs would be in it."""
_STOP_CHECK_S = 0.2
_STEPS = 10**7
"""More than the steps of any phase."""


def require_cpu_pairs(options: PairOptions, *, pairs: int, workers: int) -> None:
    """Check that batches of `pairs` generated on the device show what `options` name.

    Raises DatasetError when that takes the pairs of worker processes, and there would be none.
    """
    classic = [kind for kind in options.kinds if kind in CLASSIC_KINDS]
    if not classic:
        raise DatasetError(
            f"pairs are generated on the device: got no forgery but {', '.join(options.kinds)}, expected one "
            f"of {', '.join(CLASSIC_KINDS)} too; name one in --forgeries, or train with --generator cpu"
        )
    needed = [name for name in ("edits", "head-pose", "expressions") if options.has(name)]
    needed += [kind for kind in options.kinds if kind not in CLASSIC_KINDS]
    if needed and (pairs < _FEWEST_PAIRS or workers < _FEWEST_WORKERS):
        raise DatasetError(
            f"pairs are generated on the device, and {', '.join(needed)} by workers beside it: got --pairs "
            f"{pairs} --workers {workers}, expected at least --pairs {_FEWEST_PAIRS} and --workers "
            f"{_FEWEST_WORKERS}; raise them, or train with --generator cpu"
        )


def tensor_batch(batch: CropBatch, device: torch.device) -> TensorBatch:
    """Copy a batch to the device."""
    coverage = None if batch.mask_coverage is None else upload(batch.mask_coverage, device)
    return TensorBatch(upload(batch.crops, device), upload(batch.labels, device), coverage)


@dataclass(frozen=True)
class BatchSource:
    """What makes the batches of a phase: `data` in `workers` processes.

    With `on_device`, pairs are generated on `device`, and those of the CPU take up to a quarter of a batch.
    """

    data: TrainingData
    device: torch.device
    workers: int
    on_device: bool = False


def iterate_tensor_batches(
    source: BatchSource, plan: BatchPlan, *, start: int, strength: Callable[[int], float]
) -> Generator[TensorBatch]:
    """Yield the batches of the steps from `start` up to the plan's end; closing it ends the workers.

    Those of the CPU depend on the seed and the step alone. So do the parameters of pairs generated on the
    device; which of them give way to the CPU's depends on when these arrive, and their noise on the device.
    """
    if source.on_device and isinstance(source.data, ForgedData):
        yield from _generate(source, source.data, plan, start=start, strength=strength)
        return
    batches = iterate_batches(source.data, plan, start=start, strength=strength, workers=source.workers)
    for batch in batches:
        yield tensor_batch(batch, source.device)


def _generate(
    source: BatchSource, data: ForgedData, plan: BatchPlan, *, start: int, strength: Callable[[int], float]
) -> Iterator[TensorBatch]:
    sampler, beside = data.sampler, _CpuPairs(data, plan, strength)
    drawing = min(source.workers, max(1, round(_TABLE_WORKERS_SHARE * source.workers)))
    with beside.running(source.workers - drawing, start):
        bank = build_bank(sampler.portraits, source.device, threads=max(1, source.workers))
        generator = PairGenerator(bank, sampler.rule)
        drawer = PairDrawer(bank.faces, sampler.rule, sampler.options)
        drawn = _Tables(drawer, plan, strength, seed=data.seed)
        numbers = range(start // plan.uses, -(-plan.end // plan.uses))
        tables = iterate_in_order(drawn, numbers, drawing, ahead=_PREFETCHED_TABLES)
        for number, table in zip(numbers, tables, strict=True):
            made = generator.make(table)
            for use, step in enumerate(range(number * plan.uses, (number + 1) * plan.uses)):
                if start <= step < plan.end:
                    ready = [tensor_batch(batch, source.device) for batch in beside.take(step)]
                    left = len(table) - sum(len(batch.labels) for batch in ready) // 2
                    joined = _join([_use(made, left, use), *ready])
                    yield replace(joined, workers_share=1 - left / len(table))


def _use(made: TensorBatch, left: int, use: int) -> TensorBatch:
    """Return `left` pairs for one use of a batch: the last ones, mirrored, every second time, else the first
    ones."""
    is_mirrored = use % 2 == 1
    pairs = len(made.labels) // 2
    rows = slice(pairs - left, pairs) if is_mirrored else slice(0, left)

    def chosen(both: Tensor) -> Tensor:
        halves = torch.cat([half[rows] for half in both.chunk(2)])
        return halves.flip(2) if is_mirrored and halves.ndim > 1 else halves

    coverage = None if made.mask_coverage is None else chosen(made.mask_coverage)
    return TensorBatch(chosen(made.crops), chosen(made.labels), coverage)


class _Tables(torch.utils.data.Dataset[PairTable]):
    """Tables of pairs by number: each serves for as many steps as a pair has uses."""

    def __init__(
        self, drawer: PairDrawer, plan: BatchPlan, strength: Callable[[int], float], *, seed: int
    ) -> None:
        self.drawer, self.plan, self.strength, self.seed = drawer, plan, strength, seed

    def __getitem__(self, number: int) -> PairTable:
        rng = np.random.default_rng([self.seed, _TABLE_STREAM, self.plan.first_index + number])
        return self.drawer.draw(rng, self.plan.pairs, self.strength(number * self.plan.uses))


class _CpuUnits(torch.utils.data.Dataset[list[CropBatch]]):
    """Batches of the CPU by a number, to which the step that they are begun at is added."""

    def __init__(self, data: TrainingData, plan: BatchPlan, strength: Callable[[int], float]) -> None:
        self.data, self.plan, self.strength = data, plan, strength

    def __getitem__(self, numbered: int) -> list[CropBatch]:
        number, step = divmod(numbered, _STEPS)
        new = self.plan.new_batches
        return self.data.load_batches(
            self.plan.first_index + number * new,
            self.plan.pairs,
            strengths=[self.strength(step)] * new,
            uses=self.plan.uses,
        )


class _CpuPairs:
    """Batches of 16 pairs that worker processes make, taken when they are there and never waited for."""

    def __init__(self, data: TrainingData, plan: BatchPlan, strength: Callable[[int], float]) -> None:
        self._units = _CpuUnits(data, replace(plan, pairs=_CPU_PAIRS), strength)
        self._most = int(LARGEST_CPU_SHARE * plan.pairs) // _CPU_PAIRS
        self._step = 0
        self._ready: queue.Queue[CropBatch] = queue.Queue(_QUEUED_CPU_BATCHES)
        self._stop = threading.Event()
        self._filling: Future[None] | None = None

    @contextmanager
    def running(self, workers: int, start: int) -> Iterator[_CpuPairs]:
        """Let `workers` processes make batches, from step `start` on; none when there are none."""
        self._step = start
        with ThreadPoolExecutor(1) as pool:
            if workers > 0 and self._most:
                self._filling = pool.submit(self._fill, workers)
            try:
                yield self
            finally:
                self._stop.set()

    def take(self, step: int) -> list[CropBatch]:
        """Return what is there for a step, at most a quarter of its batch. Raises what a worker raised."""
        self._step = step
        if self._filling and self._filling.done():
            self._filling.result()
        batches: list[CropBatch] = []
        while len(batches) < self._most and not self._ready.empty():
            batches.append(self._ready.get())
        return batches

    def _fill(self, workers: int) -> None:
        for batches in iterate_in_order(self._units, _Numbers(self), workers, ahead=2):
            for batch in batches:
                while not self._stop.is_set():
                    try:
                        self._ready.put(batch, timeout=_STOP_CHECK_S)
                    except queue.Full:
                        continue
                    break
            if self._stop.is_set():
                break


class _Numbers:
    """Numbers of units, each with the step of the moment, from the first of a phase on."""

    def __init__(self, pairs: _CpuPairs) -> None:
        self._pairs, self._first = pairs, pairs._step

    def __iter__(self) -> Iterator[int]:
        for number in itertools.count(self._first):
            yield number * _STEPS + self._pairs._step


def _join(batches: list[TensorBatch]) -> TensorBatch:
    coverages = [batch.mask_coverage for batch in batches if batch.mask_coverage is not None]
    return TensorBatch(
        torch.cat([batch.crops for batch in batches]),
        torch.cat([batch.labels for batch in batches]),
        torch.cat(coverages) if len(coverages) == len(batches) else None,
    )

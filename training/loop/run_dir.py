"""Folder of a training run: its settings, its curve, and the state from which it resumes."""

from __future__ import annotations

import csv
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from deepfake_triton.files.atomic import atomic_write
from deepfake_triton.models.metadata import ModelMetadata
from deepfake_triton.training.loop.run_state import CURVE_COLUMNS, CurvePoint, RunState
from deepfake_triton.training.loop.schedule import Budget, StopRequest
from deepfake_triton.training.loop.settings import Progress
from deepfake_triton.training.samples.sources import TrainingData
from deepfake_triton.training.settings_file import require_same_settings

STATE_NAME = "state.pt"
CURVE_NAME = "curve.csv"


class RunDir:
    """Files of one run, each written atomically."""

    def __init__(self, path: Path, settings: Mapping[str, Any]) -> None:
        """Open or create the folder. Raises DatasetError when it holds a run of other settings.

        A run may go on on another device, and with pairs made by another generator.
        """
        self.path = path
        require_same_settings(path, settings, "a run of other settings", free=("device", "generator"))
        self._pool = ThreadPoolExecutor(1)
        self._writing: Future[None] | None = None

    def load_state(self) -> RunState | None:
        """Return the state written last, None for a new run."""
        file = self.path / STATE_NAME
        if not file.is_file():
            return None
        return RunState.from_stored(torch.load(file, map_location="cpu", weights_only=True))

    def save_state(self, state: RunState, *, wait: bool = True) -> None:
        """Write the state, and the curve up to it; without `wait`, the state is written in a thread.

        Raises what the writing of the state before this one raised.
        """
        if self._writing:
            self._writing.result()
        self._writing = self._pool.submit(self._write_state, state)
        if wait:
            self._writing.result()
        self.write_curve(state.curve)

    def _write_state(self, state: RunState) -> None:
        with atomic_write(self.path / STATE_NAME) as partial:
            torch.save(state.to_stored(), partial)

    def write_curve(self, curve: Sequence[CurvePoint]) -> None:
        """Write the training curve as CSV."""
        with atomic_write(self.path / CURVE_NAME) as partial, partial.open("w", newline="") as file:
            writer = csv.DictWriter(file, CURVE_COLUMNS, lineterminator="\n", restval="")
            writer.writeheader()
            writer.writerows(point.to_json() for point in curve)


@dataclass(frozen=True)
class TrainingRun:
    """What the phases of one run share: folder, data, and how to compute.

    `workers` processes make samples beside the training; 0 makes them in this process. A run with a `budget`
    follows the clock, and `stop` asks it to end at once. With `part_bytes`, averages are saved in parts.
    `has_teacher` tells that its phase comes first. With `generates_on_device`, pairs are forged there.
    """

    folder: RunDir
    train: TrainingData
    val: TrainingData
    metadata: ModelMetadata
    device: torch.device
    workers: int
    on_progress: Progress
    budget: Budget | None = None
    stop: StopRequest = field(default_factory=StopRequest)
    part_bytes: int | None = None
    has_teacher: bool = False
    generates_on_device: bool = False

    @property
    def is_inexact(self) -> bool:
        """Tell whether the run depends on the clock or a GPU, so that a resumed one could not be the same."""
        return self.budget is not None or self.device.type == "cuda"

    def save_state(self, state: RunState, *, wait: bool = True) -> None:
        """Write the state, with the time used so far; without `wait`, beside what follows.

        The state must then hold copies: what follows may change the weights.
        """
        used_s = self.budget.used_s() if self.budget else 0.0
        self.folder.save_state(replace(state, seconds=used_s), wait=wait)

    def is_late(self, share: float) -> bool:
        """Tell whether a share of the budget is used, or a stop was requested; never without a budget."""
        return self.budget is not None and (self.stop.requested or time.monotonic() >= self.budget.at(share))

"""Settings of a training run; their fields are keys of the run's `settings.json`."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from deepfake_triton.contracts import DEFAULT_FRAMES
from deepfake_triton.models.metadata import ModelMetadata
from deepfake_triton.preprocessing.crops import CropRule
from deepfake_triton.training.augmentation.pair_options import PairOptions

Generator = Literal["auto", "cpu", "device"]


class Progress(Protocol):
    """Callback that shows the progress of training."""

    def __call__(self, phase: str, *, done: int, total: int, figures: str) -> None:
        """Report that `done` of `total` steps of a phase are over.

        `figures` are the latest metrics as text.
        """
        ...


@dataclass(frozen=True)
class FrameSettings:
    """Settings of a phase on single crops (teacher or backbone).

    A batch holds `pairs` real and as many fake crops; a pair that was forged on the fly is in `pair_uses`
    batches. The learning rate warms up for `warmup` steps and then decays as a cosine; `ema` is the decay of
    the weight average. Forgeries made on the fly start at `strength_start` and reach a strength of 1 after
    the fraction `strength_share` of the steps. After `norm_share` of them, batch norms freeze their
    statistics: a batch that is half fake counterparts of its other half tells more than the single face that
    is served.
    """

    steps: int = 8000
    pairs: int = 16
    learning_rate: float = 5e-4
    warmup: int = 200
    weight_decay: float = 0.02
    ema: float = 0.995
    strength_start: float = 2.2
    strength_share: float = 0.3
    norm_share: float = 0.55
    label_smoothing: float = 0.03
    val_pairs: int = 256
    report_every: int = 100
    save_every: int = 200
    pair_uses: int = 2

    def learning_rate_at(self, step: int) -> float:
        """Return the learning rate of a step, counted from 0."""
        if step < self.warmup:
            return self.learning_rate * (step + 1) / self.warmup
        progress = (step - self.warmup) / max(1, self.steps - self.warmup)
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))

    def learning_rate_for(self, step: int, progress: float) -> float:
        """Return the learning rate of a step at a progress of the phase in 0…1, by which it decays."""
        warm = min(1.0, (step + 1) / max(1, self.warmup))
        return self.learning_rate * warm * 0.5 * (1 + math.cos(math.pi * progress))

    @property
    def norm_step(self) -> int:
        """The first step whose batch norms keep their statistics."""
        return round(self.norm_share * self.steps)

    def strength_at(self, step: int) -> float:
        """Return the strength of forgeries at a step, counted from 0."""
        left = max(0.0, 1 - step / max(1.0, self.strength_share * self.steps))
        return 1 + (self.strength_start - 1) * left

    def strength_for(self, progress: float) -> float:
        """Return the strength of forgeries at a progress of the phase in 0…1."""
        left = max(0.0, 1 - progress / max(1e-9, self.strength_share))
        return 1 + (self.strength_start - 1) * left


@dataclass(frozen=True)
class SequenceSettings:
    """Settings of the LSTM phase.

    `train_rounds` and `val_rounds` clips are drawn from each face, and a batch holds `batch` clips.
    """

    hidden_size: int = 512
    train_rounds: int = 4
    val_rounds: int = 6
    steps: int = 1500
    batch: int = 64
    learning_rate: float = 5e-4
    weight_decay: float = 0.05
    dropout: float = 0.3
    report_every: int = 100


@dataclass(frozen=True)
class TrainOptions:
    """Options of `deepfake-triton train`.

    `store` is a crop store of labeled videos, None for real faces forged on the fly; `start` is a checkpoint
    whose backbone is trained further. With `minutes`, phases end by the clock instead of after their steps.
    With `part_mib`, checkpoints are also written in parts of that many MiB. `pairs` are the options of pairs
    forged on the fly, which `generator` makes in worker processes, or in batches on the device beside them.
    """

    manifest: Path
    output: Path
    store: Path | None = None
    start: Path | None = None
    seed: int = 0
    crop_rule: CropRule = field(default_factory=CropRule)
    num_frames: int = DEFAULT_FRAMES
    teacher: FrameSettings | None = None
    backbone: FrameSettings = field(default_factory=FrameSettings)
    sequence: SequenceSettings = field(default_factory=SequenceSettings)
    workers: int = 1
    device: str = "cpu"
    command: str = ""
    minutes: float | None = None
    part_mib: int | None = None
    pairs: PairOptions = field(default_factory=PairOptions)
    generator: Generator = "auto"

    @property
    def generates_on_device(self) -> bool:
        """Whether batches of pairs are also made on the device."""
        is_wanted = self.device.startswith("cuda") if self.generator == "auto" else self.generator == "device"
        return is_wanted and self.store is None

    @property
    def metadata(self) -> ModelMetadata:
        """Metadata of the checkpoint before probability calibration."""
        return ModelMetadata(
            temporal="sequence",
            pooling="mean",
            label_order="real-fake",
            channel_order="rgb",
            mean=(0.5, 0.5, 0.5),
            std=(0.5, 0.5, 0.5),
            crop_side=self.crop_rule.side,
            crop_margin=self.crop_rule.margin,
        )

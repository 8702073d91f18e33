"""Frame phases: fine-tune the teacher, if there is one, then train the backbone on single crops."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import closing
from functools import lru_cache
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from deepfake_triton.classification_metrics import roc_auc
from deepfake_triton.models.metadata import ModelMetadata
from deepfake_triton.models.networks import normalize_crops
from deepfake_triton.models.resnext import ResNeXt50
from deepfake_triton.training.augmentation.stills import CropBatch
from deepfake_triton.training.device.generator import TensorBatch
from deepfake_triton.training.distillation.student import (
    Objective,
    build_objective,
    build_student,
    initialize_from_teacher,
)
from deepfake_triton.training.distillation.teacher import Teacher
from deepfake_triton.training.loop.ema_trainer import EmaTrainer
from deepfake_triton.training.loop.parts import save_average
from deepfake_triton.training.loop.run_dir import TrainingRun
from deepfake_triton.training.loop.run_state import CurvePoint, RunState
from deepfake_triton.training.loop.schedule import (
    BACKBONE_SHARE,
    TEACHER_SHARE,
    ClockSchedule,
    Schedule,
    StepSchedule,
)
from deepfake_triton.training.loop.settings import FrameSettings
from deepfake_triton.training.samples.batches import BatchPlan
from deepfake_triton.training.samples.tensor_batches import (
    BatchSource,
    iterate_tensor_batches,
    tensor_batch,
)
from deepfake_triton.training.samples.validation import ValidationCrops

PHASES = ("teacher", "backbone")
_VAL_CHUNK = 64
_SAVE_EVERY_S, _SAVES_BY_CLOCK = 120.0, 8
_SEEDS_PER_PHASE = 10**7


def mixed_precision(device: torch.device) -> torch.autocast:
    """Return the context of bfloat16 forward passes, which does nothing where the CPU has to emulate them."""
    fast = device.type != "cpu" or _has_bfloat16()
    return torch.autocast(device.type, torch.bfloat16, enabled=fast)


@lru_cache(maxsize=1)
def _has_bfloat16() -> bool:
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def images_from_crops(crops: Tensor, metadata: ModelMetadata) -> Tensor:
    """Normalize crops [N, S, S, 3] uint8 RGB to images [N, 3, S, S] float32, as in the served graph."""
    mean, std = (_channels(values, crops.device) for values in (metadata.mean, metadata.std))
    images = normalize_crops(crops.float(), mean, std, reverse_channels=metadata.channel_order == "bgr")
    return images.contiguous(memory_format=torch.channels_last)


@lru_cache(maxsize=16)
def _channels(values: tuple[float, ...], device: torch.device) -> Tensor:
    """Return one value per channel [1, 3, 1, 1], copied to a device once: each copy would wait for it."""
    with torch.inference_mode(mode=False):
        return torch.tensor(values, device=device).reshape(1, 3, 1, 1)


def fine_tune_teacher(run: TrainingRun, state: RunState, settings: FrameSettings) -> tuple[Teacher, RunState]:
    """Fine-tune the ImageNet teacher; return it with averaged weights in eval mode, and the new state."""
    torch.manual_seed(state.seed)
    teacher = Teacher()

    def objective(images: Tensor, labels: Tensor, *, coverage: Tensor | None, progress: float) -> Tensor:
        del coverage, progress  # the teacher learns from labels alone
        return nn.functional.cross_entropy(
            teacher(images).float(), labels, label_smoothing=settings.label_smoothing
        )

    averaged, state = _train(
        run, state, phase="teacher", model=teacher, objective=objective, settings=settings
    )
    return cast(Teacher, averaged).eval().requires_grad_(False), state


def train_backbone(
    run: TrainingRun,
    state: RunState,
    settings: FrameSettings,
    *,
    teacher: Teacher | None = None,
    start: Mapping[str, Tensor] | None = None,
) -> tuple[ResNeXt50, RunState]:
    """Train the backbone; return it with averaged weights in eval mode, and the new state.

    It starts from the weights `start`, from those of a fine-tuned `teacher`, which is then distilled, or from
    random ones.
    """
    student = build_student(state.seed)
    if start:
        student.backbone.load_state_dict(start)
    distillation = initialize_from_teacher(student, teacher) if teacher else None
    objective = build_objective(student, distillation, settings.label_smoothing)
    averaged, state = _train(
        run, state, phase="backbone", model=student, objective=objective, settings=settings
    )
    return cast(ResNeXt50, averaged.backbone).eval(), state


def _train(
    run: TrainingRun,
    state: RunState,
    *,
    phase: str,
    model: nn.Module,
    objective: Objective,
    settings: FrameSettings,
) -> tuple[nn.Module, RunState]:
    """Train a phase, or resume it from the state; return the model with its best averaged weights."""
    trainer = EmaTrainer(
        model,
        learning_rate=settings.learning_rate,
        weight_decay=settings.weight_decay,
        ema_decay=settings.ema,
        device=run.device,
    )
    if phase in state.phases:
        trainer.load_state_dict(state.phases[phase])
        if "average" not in state.phases[phase]:  # the phase is over
            return trainer.best_model(), state
    schedule = _schedule(run, phase, settings)
    val_crops = ValidationCrops(run.val, pairs=settings.pairs, total=settings.val_pairs, workers=run.workers)
    seed_offset = PHASES.index(phase) * _SEEDS_PER_PHASE
    plan = BatchPlan(settings.pairs, settings.pair_uses, first_index=seed_offset, end=schedule.end)
    source = BatchSource(run.train, run.device, run.workers, on_device=run.generates_on_device)
    batches = iterate_tensor_batches(source, plan, start=trainer.step, strength=schedule.strength)
    torch.backends.cudnn.benchmark = run.device.type == "cuda"
    norms_kept = trainer.step > 0 and schedule.keeps_norms(trainer.step - 1)
    saves = _Saves(schedule, settings.save_every, by_time=run.is_inexact)
    share = _WorkersShare()
    with closing(batches):
        for step, batch in enumerate(batches, trainer.step):
            if not norms_kept and schedule.keeps_norms(step):
                norms_kept = True
                trainer.load_average()
            set_training(model, update_norms=not norms_kept)
            _seed_dropout(state.seed, seed_offset + step)
            loss = _batch_loss(run, batch, objective=objective, progress=schedule.progress(step))
            trainer.optimize(loss, trainer.warmth(settings.warmup) * schedule.learning_rate(step))
            share.add(batch)
            last = schedule.is_over(trainer.step) or run.stop.requested
            if trainer.step % settings.report_every == 0 or last:
                point = _validate(run, trainer, phase=phase, schedule=schedule, val_batch=val_crops.batch())
                state = state.with_point(point)
                run.folder.write_curve(state.curve)
            figures = _figures_text(state.last_point(phase), share)
            run.on_progress(
                phase, done=trainer.step, total=schedule.expected_steps(trainer.step), figures=figures
            )
            if last or saves.is_due(trainer.step):
                state = _save(run, state, trainer, phase=phase, is_last=last)
            if last:
                break
    return trainer.best_model(), state


def _save(run: TrainingRun, state: RunState, trainer: EmaTrainer, *, phase: str, is_last: bool) -> RunState:
    """Save the run, and return its new state."""
    compact = run.is_inexact
    state = state.with_phase(phase, trainer.state_dict(finished=is_last, compact=compact))
    run.save_state(state, wait=is_last or not compact)
    if run.part_bytes and phase == "backbone":
        averaged = cast(ResNeXt50, trainer.average.module.backbone)
        save_average(run.folder.path, averaged, run.metadata, part_bytes=run.part_bytes)
    return state


class _Saves:
    """When to save: at multiples of a step, or by time where a run can't be repeated exactly.

    Then it is every two minutes, and at least eight times in a phase by the clock.
    """

    def __init__(self, schedule: Schedule, save_every: int, *, by_time: bool) -> None:
        self._save_every, self._by_time, self._interval_s = save_every, by_time, _SAVE_EVERY_S
        if isinstance(schedule, ClockSchedule):
            self._interval_s = min(_SAVE_EVERY_S, (schedule.end_s - schedule.begin_s) / _SAVES_BY_CLOCK)
        self._saved_s = time.monotonic()

    def is_due(self, step: int) -> bool:
        """Tell whether to save after `step` steps, and count from then on."""
        if not self._by_time:
            return step % self._save_every == 0
        due = time.monotonic() - self._saved_s >= self._interval_s
        if due:
            self._saved_s = time.monotonic()
        return due


class _WorkersShare:
    """Mean share of the pairs that workers made, where the device makes the others."""

    def __init__(self) -> None:
        self._sum, self._batches = 0.0, 0

    def add(self, batch: TensorBatch) -> None:
        """Count a batch."""
        if batch.workers_share is not None:
            self._sum, self._batches = self._sum + batch.workers_share, self._batches + 1

    def __str__(self) -> str:
        return f", workers' pairs {self._sum / self._batches:.0%}" if self._batches else ""


def _schedule(run: TrainingRun, phase: str, settings: FrameSettings) -> Schedule:
    """Return the schedule of a phase: by the run's clock if it has one."""
    if run.budget is None:
        return StepSchedule(settings)
    if phase == "teacher":
        return ClockSchedule(settings, run.budget.begin_s, run.budget.at(TEACHER_SHARE))
    begin_s = run.budget.at(TEACHER_SHARE) if run.has_teacher else run.budget.begin_s
    return ClockSchedule(settings, begin_s, run.budget.at(BACKBONE_SHARE))


def set_training(model: nn.Module, *, update_norms: bool) -> None:
    """Set a model to training mode, with batch norms in eval mode unless they update their statistics."""
    model.train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.train(update_norms)


def _seed_dropout(seed: int, step: int) -> None:
    """Seed torch by the step, so that a resumed run draws the same dropout."""
    torch.manual_seed(int(np.random.SeedSequence([seed, step]).generate_state(1)[0]))


def _batch_loss(run: TrainingRun, batch: TensorBatch, *, objective: Objective, progress: float) -> Tensor:
    coverage = None if batch.mask_coverage is None else batch.mask_coverage / 255
    with mixed_precision(run.device):
        images = images_from_crops(batch.crops, run.metadata)
        return objective(images, batch.labels, coverage=coverage, progress=progress)


def _validate(
    run: TrainingRun, trainer: EmaTrainer, *, phase: str, schedule: Schedule, val_batch: CropBatch
) -> CurvePoint:
    """Measure the averaged weights on held-out people, and keep them if they are the best.

    A new report starts: the trainer's losses are cleared.
    """
    val_loss, val_auc = _validation_figures(trainer.average, val_batch, run)
    trainer.keep_if_best(val_loss)
    point = CurvePoint(
        phase=phase,
        step=trainer.step,
        loss=round(float(np.mean(trainer.losses)), 5),
        val_loss=val_loss,
        val_auc=val_auc,
        learning_rate=round(trainer.learning_rate, 8),
        strength=round(schedule.strength(trainer.step - 1), 4),
    )
    trainer.clear_losses()
    return point


def _validation_figures(average: nn.Module, batch: CropBatch, run: TrainingRun) -> tuple[float, float]:
    """Return cross-entropy and AUC of the averaged weights, both rounded to 5 digits."""
    average.eval()
    crops = tensor_batch(batch, run.device).crops
    with torch.inference_mode(), mixed_precision(run.device):
        images = (images_from_crops(part, run.metadata) for part in torch.split(crops, _VAL_CHUNK))
        outputs = [average(part).float() for part in images]
    logits = torch.cat(outputs).cpu()
    val_loss = float(nn.functional.cross_entropy(logits, torch.as_tensor(batch.labels)))
    margins = (logits[:, 1] - logits[:, 0]).double().numpy()
    return round(val_loss, 5), round(roc_auc(margins, batch.labels), 5)


def _figures_text(point: CurvePoint | None, share: _WorkersShare) -> str:
    return f"loss {point.loss:.3f}, val AUC {point.val_auc:.3f}{share}" if point else ""

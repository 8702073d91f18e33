"""Frame phases: fine-tune the teacher, if there is one, then train the backbone on single crops."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from deepfake_triton.arrays import Frames
from deepfake_triton.classification_metrics import roc_auc
from deepfake_triton.models.metadata import ModelMetadata
from deepfake_triton.models.networks import normalize_crops
from deepfake_triton.models.resnext import ResNeXt50
from deepfake_triton.training.augmentation.stills import CropBatch
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
from deepfake_triton.training.samples.batches import BatchPlan, iterate_batches
from deepfake_triton.training.samples.sources import TrainingData

PHASES = ("teacher", "backbone")
_VAL_CHUNK = 64
_VAL_SEED_OFFSET = 10**6
_SEEDS_PER_PHASE = 10**7


def images_from_crops(crops: Frames, metadata: ModelMetadata, device: torch.device) -> Tensor:
    """Normalize crops [N, S, S, 3] uint8 RGB to images [N, 3, S, S] float32, as in the served graph."""
    pixels = torch.from_numpy(np.ascontiguousarray(crops)).to(device).float()
    mean, std = (
        torch.tensor(values, device=device).reshape(1, 3, 1, 1) for values in (metadata.mean, metadata.std)
    )
    images = normalize_crops(pixels, mean, std, reverse_channels=metadata.channel_order == "bgr")
    return images.contiguous(memory_format=torch.channels_last)


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
        if "model" not in state.phases[phase]:  # the phase is over
            return trainer.best_model(), state
    schedule = _schedule(run, phase, settings)
    val_batch = _validation_batch(run.val, settings)
    seed_offset = PHASES.index(phase) * _SEEDS_PER_PHASE
    plan = BatchPlan(settings.pairs, settings.pair_uses, first_index=seed_offset, end=schedule.end)
    batches = iterate_batches(
        run.train, plan, start=trainer.step, strength=schedule.strength, workers=run.workers
    )
    norms_kept = trainer.step > 0 and schedule.keeps_norms(trainer.step - 1)
    saved_at = schedule.progress(trainer.step)
    for step, batch in enumerate(batches, trainer.step):
        if not norms_kept and schedule.keeps_norms(step):
            norms_kept = True
            trainer.load_average()
        set_training(model, update_norms=not norms_kept)
        _seed_dropout(state.seed, seed_offset + step)
        loss = _batch_loss(run, batch, objective=objective, progress=schedule.progress(step))
        trainer.optimize(loss, schedule.learning_rate(step))
        last = schedule.is_over(trainer.step) or run.stop.requested
        if trainer.step % settings.report_every == 0 or last:
            point = _validate(run, trainer, phase=phase, schedule=schedule, val_batch=val_batch)
            state = state.with_point(point)
            run.folder.write_curve(state.curve)
        total, figures = schedule.expected_steps(trainer.step), _figures_text(state.last_point(phase))
        run.on_progress(phase, done=trainer.step, total=total, figures=figures)
        if last or schedule.is_save_due(trainer.step, saved_at=saved_at):
            saved_at = schedule.progress(trainer.step)
            state = state.with_phase(phase, trainer.state_dict(finished=last))
            run.save_state(state)
            if run.part_bytes and phase == "backbone":
                averaged = cast(ResNeXt50, trainer.average.module.backbone)
                save_average(run.folder.path, averaged, run.metadata, part_bytes=run.part_bytes)
        if last:
            break
    return trainer.best_model(), state


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


def _batch_loss(run: TrainingRun, batch: CropBatch, *, objective: Objective, progress: float) -> Tensor:
    labels = torch.as_tensor(batch.labels, device=run.device)
    coverage = None
    if batch.mask_coverage is not None:
        coverage = torch.as_tensor(batch.mask_coverage, device=run.device) / 255
    with torch.autocast(run.device.type, torch.bfloat16):
        images = images_from_crops(batch.crops, run.metadata, run.device)
        return objective(images, labels, coverage=coverage, progress=progress)


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
        learning_rate=round(schedule.learning_rate(trainer.step - 1), 8),
        strength=round(schedule.strength(trainer.step - 1), 4),
    )
    trainer.losses = []
    return point


def _validation_batch(val: TrainingData, settings: FrameSettings) -> CropBatch:
    """Draw the crops of the curve, always the same, forged at a strength of 1."""
    pairs = max(1, min(settings.pairs, settings.val_pairs))
    rounds = range(max(1, settings.val_pairs // pairs))
    parts = [val.load_batch(_VAL_SEED_OFFSET + number, pairs, 1.0) for number in rounds]
    return CropBatch(
        np.concatenate([part.crops for part in parts]), np.concatenate([part.labels for part in parts])
    )


def _validation_figures(average: nn.Module, batch: CropBatch, run: TrainingRun) -> tuple[float, float]:
    """Return cross-entropy and AUC of the averaged weights, both rounded to 5 digits."""
    crops, labels = batch.crops, batch.labels
    average.eval()
    with torch.inference_mode(), torch.autocast(run.device.type, torch.bfloat16):
        chunks = [crops[i : i + _VAL_CHUNK] for i in range(0, len(crops), _VAL_CHUNK)]
        images = (images_from_crops(chunk, run.metadata, run.device) for chunk in chunks)
        outputs = [average(part).float().cpu() for part in images]
    logits = torch.cat(outputs)
    val_loss = float(nn.functional.cross_entropy(logits, torch.as_tensor(labels)))
    margins = (logits[:, 1] - logits[:, 0]).double().numpy()
    return round(val_loss, 5), round(roc_auc(margins, labels), 5)


def _figures_text(point: CurvePoint | None) -> str:
    return f"loss {point.loss:.3f}, val AUC {point.val_auc:.3f}" if point else ""

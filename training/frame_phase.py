"""Training on single crops: first the teacher, if there is one, then the backbone, by the same loop."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from deepfake_triton.export.backbone import ResNeXt50
from deepfake_triton.export.facts import ModelFacts
from deepfake_triton.export.networks import normalised
from deepfake_triton.metrics import roc_auc
from deepfake_triton.training.data import TrainingData
from deepfake_triton.training.learner import Learner
from deepfake_triton.training.parallel import ordered
from deepfake_triton.training.run_folder import RunFolder
from deepfake_triton.training.samples import CropBatch
from deepfake_triton.training.student import Objective, new_classifier, objective_of, taught
from deepfake_triton.training.teacher import Teacher

PHASES = ("teacher", "backbone")
_VAL_CHUNK = 64
_VAL_SEED_OFFSET = 10**6
_BATCHES_APART = 10**7


@dataclass(frozen=True)
class FrameSettings:
    """`pairs` of real and fake crops a step; the learning rate warms up for `warmup` steps and falls as a
    cosine. Forgeries made on the fly are `strength_start` times as strong at first and 1 after
    `strength_share` of the steps. After `norm_share` of them, normalisations keep their statistics: those of
    a batch, half of which are twins of the other half, tell more than a face alone does when it is served."""

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

    def learning_rate_at(self, step: int) -> float:
        """For the step of that number, from 0."""
        if step < self.warmup:
            return self.learning_rate * (step + 1) / self.warmup
        share = (step - self.warmup) / max(1, self.steps - self.warmup)
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * min(1.0, share)))

    @property
    def norm_step(self) -> int:
        """The first whose normalisations keep their statistics."""
        return round(self.norm_share * self.steps)

    def strength_at(self, step: int) -> float:
        """Of forgeries, for the step of that number."""
        left = max(0.0, 1 - step / max(1.0, self.strength_share * self.steps))
        return 1 + (self.strength_start - 1) * left


def pictures_of(crops: npt.NDArray[np.uint8], facts: ModelFacts, device: torch.device) -> Tensor:
    """Crops [N, S, S, 3] uint8 RGB to [N, 3, S, S], normalised as in the served graph."""
    pixels = torch.from_numpy(np.ascontiguousarray(crops)).to(device).float()
    mean, std = (torch.tensor(each, device=device).reshape(1, 3, 1, 1) for each in (facts.mean, facts.std))
    pictures = normalised(pixels, mean, std, facts.channel_order == "bgr")
    return pictures.contiguous(memory_format=torch.channels_last)


def train_backbone(
    run: FrameRun,
    settings: FrameSettings,
    teacher: Teacher | None = None,
    start: Mapping[str, Tensor] | None = None,
) -> ResNeXt50:
    """The backbone with averaged weights, in eval mode; it goes on from the weights `start`, if given, and a
    `teacher` that was tuned before helps it."""
    student = new_classifier(int(run.state["seed"]))
    if start:
        student.backbone.load_state_dict(start)
    distillation = taught(student, teacher) if teacher else None
    objective = objective_of(student, distillation, settings.label_smoothing)
    averaged = _train(run, "backbone", student, objective, settings)
    backbone: ResNeXt50 = averaged.backbone  # type: ignore[assignment]
    return backbone.eval()


def tune_teacher(run: FrameRun, settings: FrameSettings) -> Teacher:
    """The teacher with averaged weights, in eval mode."""
    torch.manual_seed(int(run.state["seed"]))
    teacher = Teacher()

    def objective(pictures: Tensor, labels: Tensor, _forged: Tensor | None, _done: float) -> Tensor:
        return nn.functional.cross_entropy(
            teacher(pictures).float(), labels, label_smoothing=settings.label_smoothing
        )

    tuned = _train(run, "teacher", teacher, objective, settings)
    assert isinstance(tuned, Teacher)
    return tuned.eval().requires_grad_(False)


@dataclass(frozen=True)
class FrameRun:
    """What both phases share. `state` is the run's: what is needed to go on is kept in it and saved."""

    folder: RunFolder
    state: dict[str, Any]
    train: TrainingData
    val: TrainingData
    facts: ModelFacts
    device: torch.device
    workers: int
    on_step: Callable[[str, int, int, str], None]


def _train(
    run: FrameRun, phase: str, model: nn.Module, objective: Objective, settings: FrameSettings
) -> nn.Module:
    """Train, or go on with what the state says; the model with the best of its averaged weights."""
    learner = Learner(model, settings.learning_rate, settings.weight_decay, settings.ema, run.device)
    if phase in run.state:
        learner.go_on(run.state[phase])
    if learner.done == settings.steps:
        return learner.result()
    held_out = _held_out(run.val, settings)
    numbers = range(learner.done, settings.steps)
    offset = PHASES.index(phase) * _BATCHES_APART
    for step, batch in zip(numbers, _batches(run, settings, offset, numbers), strict=True):
        if step == settings.norm_step:
            learner.begin_from_average()
        set_training(model, step < settings.norm_step)
        _seed_dropout(int(run.state["seed"]), offset + step)
        labels = torch.as_tensor(batch.labels, device=run.device)
        forged = None if batch.forged is None else torch.as_tensor(batch.forged, device=run.device) / 255
        with torch.autocast(run.device.type, torch.bfloat16):
            pictures = pictures_of(batch.crops, run.facts, run.device)
            loss = objective(pictures, labels, forged, step / settings.steps)
        learner.learn(loss, settings.learning_rate_at(step))
        last = learner.done == settings.steps
        if learner.done % settings.report_every == 0 or last:
            _report(run, phase, learner, settings, held_out)
        run.on_step(phase, learner.done, settings.steps, _shown(run.state["curve"], phase))
        if learner.done % settings.save_every == 0 or last:
            run.state[phase] = learner.kept(finished=last)
            run.folder.save_state(run.state, run.state["curve"])
    return learner.result()


def set_training(model: nn.Module, norms_learn: bool) -> None:
    """Training mode, but for normalisations unless they learn their statistics."""
    model.train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.train(norms_learn)


def _seed_dropout(seed: int, number: int) -> None:
    """By the step's number, so that a resumed run drops the same."""
    torch.manual_seed(int(np.random.SeedSequence([seed, number]).generate_state(1)[0]))


def _report(
    run: FrameRun, phase: str, learner: Learner, settings: FrameSettings, held_out: CropBatch
) -> None:
    """A row of the curve."""
    figures = _figures(learner.average, held_out, run)
    learner.consider(figures["val_loss"])
    run.state["curve"].append(
        {
            "phase": phase,
            "step": learner.done,
            "loss": round(float(np.mean(learner.losses)), 5),
            **figures,
            "learning_rate": round(settings.learning_rate_at(learner.done - 1), 8),
            "strength": round(settings.strength_at(learner.done - 1), 4),
        }
    )
    learner.losses = []
    run.folder.write_curve(run.state["curve"])


class _Batches(torch.utils.data.Dataset[CropBatch]):
    def __init__(self, data: TrainingData, settings: FrameSettings, offset: int) -> None:
        self.data, self.settings, self.offset = data, settings, offset

    def __len__(self) -> int:
        return self.settings.steps

    def __getitem__(self, step: int) -> CropBatch:
        return self.data.batch(self.offset + step, self.settings.pairs, self.settings.strength_at(step))


def _batches(run: FrameRun, settings: FrameSettings, offset: int, numbers: range) -> Iterator[CropBatch]:
    """The batches of those numbers, in order, made by processes beside the training."""
    yield from ordered(_Batches(run.train, settings, offset), numbers, run.workers)


def _held_out(val: TrainingData, settings: FrameSettings) -> CropBatch:
    """Always the same crops, forged at a strength of 1."""
    pairs = max(1, min(settings.pairs, settings.val_pairs))
    rounds = range(max(1, settings.val_pairs // pairs))
    parts = [val.batch(_VAL_SEED_OFFSET + number, pairs, 1.0) for number in rounds]
    return CropBatch(
        np.concatenate([part.crops for part in parts]), np.concatenate([part.labels for part in parts])
    )


def _figures(average: nn.Module, held_out: CropBatch, run: FrameRun) -> dict[str, float]:
    """Loss and AUC of the averaged weights on people held out."""
    crops, labels = held_out.crops, held_out.labels
    average.eval()
    with torch.inference_mode(), torch.autocast(run.device.type, torch.bfloat16):
        chunks = [crops[i : i + _VAL_CHUNK] for i in range(0, len(crops), _VAL_CHUNK)]
        answers = [average(pictures_of(chunk, run.facts, run.device)).float().cpu() for chunk in chunks]
    logits = torch.cat(answers)
    val_loss = float(nn.functional.cross_entropy(logits, torch.as_tensor(labels)))
    margins = (logits[:, 1] - logits[:, 0]).double().numpy()
    return {"val_loss": round(val_loss, 5), "val_auc": round(roc_auc(margins, labels), 5)}


def _shown(curve: list[dict[str, Any]], phase: str) -> str:
    own = [row for row in curve if row["phase"] == phase]
    return f"loss {own[-1]['loss']:.3f}, val AUC {own[-1]['val_auc']:.3f}" if own else ""

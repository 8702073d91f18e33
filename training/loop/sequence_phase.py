"""Sequence phase: train the LSTM on whole clips, with the backbone frozen."""

from __future__ import annotations

import copy
import math
import time
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from deepfake_triton.classification_metrics import roc_auc
from deepfake_triton.contracts import FEATURE_SIZE
from deepfake_triton.models.networks import SequenceClassifier
from deepfake_triton.training.device.uploads import upload
from deepfake_triton.training.loop.clip_features import ClipFeatures
from deepfake_triton.training.loop.run_dir import TrainingRun
from deepfake_triton.training.loop.run_state import CurvePoint, RunState
from deepfake_triton.training.loop.schedule import SEQUENCE_SHARE
from deepfake_triton.training.loop.settings import SequenceSettings

PHASE = "sequence"
_SHORTEST_CLIP = 4
_LABEL_SMOOTHING = 0.03
_MAX_GRADIENT_NORM = 1.0
_BATCH_SEED = 3
_FEWEST_STEPS, _TIMED_STEPS = 20, 3


def train_sequence(
    run: TrainingRun, state: RunState, settings: SequenceSettings, *, train: ClipFeatures, val: ClipFeatures
) -> tuple[SequenceClassifier, RunState]:
    """Train the LSTM and its head, always from the start: it takes a minute and needs no stored state.

    Returns the classifier with the weights of the lowest validation loss, in eval mode, and the new state.
    """
    torch.manual_seed(state.seed)
    lstm = nn.LSTM(FEATURE_SIZE, settings.hidden_size, batch_first=True)
    classifier = SequenceClassifier(lstm, nn.Linear(settings.hidden_size, 2), run.metadata).to(run.device)
    batches = _DeviceClips(train, run.device)
    if run.budget:
        settings = replace(settings, steps=_affordable_steps(run, classifier, settings, batches=batches))
    optimizer = torch.optim.AdamW(
        classifier.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, settings.learning_rate, total_steps=settings.steps, pct_start=0.1
    )
    state = state.without_curve_of(PHASE)
    losses: list[Tensor] = []
    lowest_loss, best = math.inf, classifier.state_dict()
    for step in range(settings.steps):
        rng = np.random.default_rng([state.seed, _BATCH_SEED, step])
        loss = _batch_loss(classifier, batches, settings, rng=rng)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(classifier.parameters(), _MAX_GRADIENT_NORM)
        optimizer.step()
        schedule.step()
        losses.append(loss.detach())
        last = step + 1 == settings.steps or run.stop.requested
        if (step + 1) % settings.report_every == 0 or last:
            val_loss, val_auc = _validate(classifier, val)
            if val_loss < lowest_loss or not np.isfinite(lowest_loss):
                lowest_loss, best = val_loss, copy.deepcopy(classifier.state_dict())
            state = state.with_point(
                CurvePoint(
                    phase=PHASE,
                    step=step + 1,
                    loss=round(float(np.mean(torch.stack(losses).tolist())), 5),
                    val_loss=round(val_loss, 5),
                    val_auc=round(val_auc, 5),
                    learning_rate=round(float(schedule.get_last_lr()[0]), 8),
                )
            )
            losses = []
            run.folder.write_curve(state.curve)
        point = state.last_point(PHASE)
        figures = f"val AUC {point.val_auc:.3f}" if point else ""
        run.on_progress(PHASE, done=step + 1, total=settings.steps, figures=figures)
        if last:
            break
    classifier.load_state_dict(best)
    return classifier.cpu().eval(), state


def _affordable_steps(
    run: TrainingRun, classifier: SequenceClassifier, settings: SequenceSettings, *, batches: _DeviceClips
) -> int:
    """Return the steps for which the budget leaves time; some are always done."""
    if run.budget is None or run.is_late(SEQUENCE_SHARE):
        return min(settings.steps, _FEWEST_STEPS)
    rng, begin_s = np.random.default_rng(0), 0.0
    for step in range(1 + _TIMED_STEPS):
        loss = _batch_loss(classifier, batches, settings, rng=rng)
        loss.backward()  # type: ignore[no-untyped-call]
        if step == 0:  # the first one loads kernels and waits for the clips
            loss.item()
            begin_s = time.monotonic()
    loss.item()  # waits for the device
    step_s = (time.monotonic() - begin_s) / _TIMED_STEPS
    affordable = int((run.budget.at(SEQUENCE_SHARE) - time.monotonic()) / step_s)
    return min(settings.steps, max(_FEWEST_STEPS, affordable))


def predict_margins(classifier: SequenceClassifier, clips: ClipFeatures) -> npt.NDArray[np.float64]:
    """Return the fake minus the real logit [N] of every clip, each at its own length."""
    classifier.eval()
    margins, device = np.zeros(len(clips.labels)), _device(classifier)
    with torch.inference_mode():
        for length in np.unique(clips.lengths):
            members = np.flatnonzero(clips.lengths == length)
            logits, _ = classifier(torch.from_numpy(clips.features[members, :length]).to(device))
            margins[members] = (logits[:, 1] - logits[:, 0]).double().cpu().numpy()
    return margins


class _DeviceClips:
    """Clips whose features are on the device from the start, so that no step copies any."""

    def __init__(self, clips: ClipFeatures, device: torch.device) -> None:
        self.lengths, self.longest = clips.lengths, clips.features.shape[1]
        self._features = torch.from_numpy(clips.features).to(device)
        self._labels = torch.from_numpy(clips.labels).to(device)

    def cut(
        self, chosen: npt.NDArray[np.int64], starts: npt.NDArray[np.int64], length: int
    ) -> tuple[Tensor, Tensor]:
        """Return `length` frames [N, T, 2048] from `starts` [N] on of the clips `chosen` [N], and labels."""
        device = self._features.device
        frames = upload(starts[:, None] + np.arange(length), device)
        rows = upload(chosen, device)
        return self._features[rows[:, None], frames], self._labels[rows]


def _batch_loss(
    classifier: SequenceClassifier,
    clips: _DeviceClips,
    settings: SequenceSettings,
    *,
    rng: np.random.Generator,
) -> Tensor:
    """Draw a batch of clips of one random length, and return its loss.

    Windows begin anywhere in a clip: short clips are served too, so they must be learned.
    """
    chosen = rng.integers(len(clips.lengths), size=settings.batch)
    length = int(rng.integers(min(_SHORTEST_CLIP, clips.longest), clips.longest + 1))
    length = min(length, int(clips.lengths[chosen].min()))
    starts = np.array([int(rng.integers(clips.lengths[i] - length + 1)) for i in chosen])
    features, labels = clips.cut(chosen, starts, length)
    classifier.train()
    logits, _ = classifier(nn.functional.dropout(features, settings.dropout))
    return nn.functional.cross_entropy(logits, labels, label_smoothing=_LABEL_SMOOTHING)


def _device(classifier: SequenceClassifier) -> torch.device:
    return next(classifier.parameters()).device


def _validate(classifier: SequenceClassifier, val: ClipFeatures) -> tuple[float, float]:
    """Return cross-entropy and AUC on the held-out clips."""
    margins = predict_margins(classifier, val)
    val_loss = float(np.logaddexp(0, np.where(val.labels == 1, -1, 1) * margins).mean())
    return val_loss, roc_auc(margins, val.labels)

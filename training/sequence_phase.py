"""Second phase: with the backbone as it is, the LSTM learns from whole clips."""

from __future__ import annotations

import copy
import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from deepfake_triton.contracts import FEATURE_SIZE
from deepfake_triton.export.backbone import ResNeXt50
from deepfake_triton.export.facts import ModelFacts
from deepfake_triton.export.networks import SequenceClassifier
from deepfake_triton.metrics import roc_auc
from deepfake_triton.training.data import LabelledClip, TrainingData
from deepfake_triton.training.frame_phase import pictures_of
from deepfake_triton.training.parallel import ordered
from deepfake_triton.training.run_folder import RunFolder

PHASE = "sequence"
FEATURES_NAME = "features"
_CLIPS_A_FILE = 16
_SHORTEST_CLIP = 4


@dataclass(frozen=True)
class SequenceSettings:
    """`train_rounds` and `val_rounds` are clips drawn from each face; a batch holds `batch` clips."""

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
class ClipFeatures:
    """`features` [N, T, 2048] float32 with the first `lengths` [N] frames valid, `labels` [N] and the number
    of each clip's person, `people` [N]."""

    features: npt.NDArray[np.float32]
    lengths: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int64]
    people: npt.NDArray[np.int64]


def clip_features(
    folder: RunFolder,
    split: str,
    data: TrainingData,
    rounds: int,
    backbone: ResNeXt50,
    facts: ModelFacts,
    device: torch.device,
    workers: int,
    on_clip: Callable[[int, int], None] | None = None,
) -> ClipFeatures:
    """What the backbone says of every clip of a split, kept in the run's folder for a restart."""
    place = folder.path / FEATURES_NAME / f"{split}-{_fingerprint(backbone)}"
    place.mkdir(parents=True, exist_ok=True)
    total = data.num_clips(rounds)
    starts = range(0, total, _CLIPS_A_FILE)
    missing = [first for first in starts if not _file(place, first).is_file()]
    for first, clips in zip(missing, ordered(_Clips(data, total), missing, workers), strict=True):
        _write(_file(place, first), clips, backbone, facts, device)
        if on_clip:
            on_clip(min(first + _CLIPS_A_FILE, total), total)
    parts = []
    for first in starts:
        with np.load(_file(place, first), allow_pickle=False) as arrays:
            parts.append({name: arrays[name] for name in arrays.files})
    longest = max(int(part["lengths"].max()) for part in parts)
    features = np.concatenate(
        [
            np.pad(part["features"], ((0, 0), (0, longest - part["features"].shape[1]), (0, 0)))
            for part in parts
        ]
    )
    names = np.concatenate([part["people"] for part in parts])
    return ClipFeatures(
        features=features.astype(np.float32),
        lengths=np.concatenate([part["lengths"] for part in parts]),
        labels=np.concatenate([part["labels"] for part in parts]),
        people=np.unique(names, return_inverse=True)[1].astype(np.int64),
    )


def train_sequence(
    folder: RunFolder,
    state: dict[str, Any],
    train: ClipFeatures,
    val: ClipFeatures,
    settings: SequenceSettings,
    facts: ModelFacts,
    on_step: Callable[[int, str], None] | None = None,
) -> SequenceClassifier:
    """Train the LSTM and its head from the start: it takes a minute, so that it needs no state of its own.

    The weights are those of the lowest loss on people held out, as for the backbone.
    """
    torch.manual_seed(int(state["seed"]))
    lstm = nn.LSTM(FEATURE_SIZE, settings.hidden_size, batch_first=True)
    classifier = SequenceClassifier(lstm, nn.Linear(settings.hidden_size, 2), facts)
    optimiser = torch.optim.AdamW(
        classifier.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, settings.learning_rate, total_steps=settings.steps, pct_start=0.1
    )
    curve = [row for row in state["curve"] if row["phase"] != PHASE]
    losses: list[float] = []
    lowest, best = math.inf, classifier.state_dict()
    for step in range(settings.steps):
        rng = np.random.default_rng([int(state["seed"]), 3, step])
        chosen = rng.integers(len(train.labels), size=settings.batch)
        shortest = min(_SHORTEST_CLIP, train.features.shape[1])
        length = int(rng.integers(shortest, train.features.shape[1] + 1))
        length = min(length, int(train.lengths[chosen].min()))
        features = torch.from_numpy(_stretch(train, chosen, length, rng))
        features = nn.functional.dropout(features, settings.dropout)
        classifier.train()
        logits, _ = classifier(features)
        loss = nn.functional.cross_entropy(
            logits, torch.from_numpy(train.labels[chosen]), label_smoothing=0.03
        )
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(classifier.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        losses.append(float(loss.detach()))
        if (step + 1) % settings.report_every == 0 or step + 1 == settings.steps:
            margins = margins_of(classifier, val)
            val_loss = float(np.logaddexp(0, np.where(val.labels == 1, -1, 1) * margins).mean())
            if val_loss < lowest or not np.isfinite(lowest):
                lowest, best = val_loss, copy.deepcopy(classifier.state_dict())
            curve.append(
                {
                    "phase": PHASE,
                    "step": step + 1,
                    "loss": round(float(np.mean(losses)), 5),
                    "val_loss": round(val_loss, 5),
                    "val_auc": round(roc_auc(margins, val.labels), 5),
                    "learning_rate": round(float(schedule.get_last_lr()[0]), 8),
                }
            )
            losses = []
            folder.write_curve(curve)
        if on_step:
            on_step(step + 1, f"val AUC {curve[-1]['val_auc']:.3f}" if curve[-1]["phase"] == PHASE else "")
    state["curve"] = curve
    classifier.load_state_dict(best)
    return classifier.eval()


def margins_of(classifier: SequenceClassifier, clips: ClipFeatures) -> npt.NDArray[np.float64]:
    """Fake minus real logits [N] of every clip, each at its own length."""
    classifier.eval()
    margins = np.zeros(len(clips.labels))
    with torch.inference_mode():
        for length in np.unique(clips.lengths):
            members = np.flatnonzero(clips.lengths == length)
            logits, _ = classifier(torch.from_numpy(clips.features[members, :length]))
            margins[members] = (logits[:, 1] - logits[:, 0]).double().numpy()
    return margins


def _stretch(
    clips: ClipFeatures, chosen: npt.NDArray[np.int64], length: int, rng: np.random.Generator
) -> npt.NDArray[np.float32]:
    """`length` neighbouring frames of each chosen clip, so that short clips are known too."""
    first = [int(rng.integers(clips.lengths[i] - length + 1)) for i in chosen]
    return np.stack([clips.features[i, f : f + length] for i, f in zip(chosen, first, strict=True)])


class _Clips(torch.utils.data.Dataset[list[LabelledClip]]):
    """The clips of one file of features, by the number of its first."""

    def __init__(self, data: TrainingData, total: int) -> None:
        self.data, self.total = data, total

    def __getitem__(self, first: int) -> list[LabelledClip]:
        numbers = range(first, min(first + _CLIPS_A_FILE, self.total))
        return [clip for number in numbers for clip in self.data.clips(number)]


def _file(place: Path, first: int) -> Path:
    return place / f"{first:06d}.npz"


def _write(
    file: Path, clips: list[LabelledClip], backbone: ResNeXt50, facts: ModelFacts, device: torch.device
) -> None:
    longest = max(len(clip.faces) for clip in clips)
    features = np.zeros((len(clips), longest, FEATURE_SIZE), np.float16)
    for row, clip in enumerate(clips):
        with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16):
            values = backbone(pictures_of(clip.faces, facts, device))
        features[row, : len(clip.faces)] = values.float().cpu().numpy().astype(np.float16)
    partial = file.with_name(f".{file.name}.partial.npz")
    np.savez(
        partial,
        features=features,
        lengths=np.array([len(clip.faces) for clip in clips]),
        labels=np.array([clip.label for clip in clips]),
        people=np.array([clip.identity for clip in clips]),
    )
    partial.replace(file)


def _fingerprint(backbone: ResNeXt50) -> str:
    digest = hashlib.sha256()
    for value in backbone.state_dict().values():
        digest.update(value.detach().cpu().numpy().tobytes())
    return digest.hexdigest()[:12]

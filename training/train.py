"""Training from end to end: data, backbone, sequence head, calibration, checkpoint."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from deepfake_triton.contracts import DEFAULT_DETECTOR_SIZE, DEFAULT_FRAMES
from deepfake_triton.errors import CheckpointError, DatasetError
from deepfake_triton.export.checkpoint import Checkpoint, checkpoint_from_file
from deepfake_triton.export.detector import default_detector
from deepfake_triton.export.facts import ModelFacts
from deepfake_triton.export.networks import SequenceClassifier
from deepfake_triton.manifest import ManifestRow, Split, read_manifest
from deepfake_triton.metrics import expected_calibration_error, roc_auc
from deepfake_triton.preprocessing.crops import CropRule
from deepfake_triton.training.calibration import fit_platt, operating_points, probabilities_of
from deepfake_triton.training.checkpoint_file import write_checkpoint
from deepfake_triton.training.curve_plot import plot_curve
from deepfake_triton.training.data import CropStoreData, ForgedData, TrainingData
from deepfake_triton.training.frame_phase import FrameRun, FrameSettings, train_backbone, tune_teacher
from deepfake_triton.training.portraits import portraits_of_rows
from deepfake_triton.training.run_folder import RunFolder
from deepfake_triton.training.sequence_phase import (
    SequenceSettings,
    clip_features,
    margins_of,
    train_sequence,
)
from deepfake_triton.training.teacher import ORIGIN as TEACHER_ORIGIN

CHECKPOINT_NAME = "checkpoint.safetensors"
CALIBRATION_DEGRADATION = 0.5


@dataclass(frozen=True)
class TrainOptions:
    """What `deepfake-triton train` takes; `store` is a crop store, None for real faces alone; `start` is a
    checkpoint whose backbone is trained further."""

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

    @property
    def facts(self) -> ModelFacts:
        """Of the checkpoint, before it is calibrated."""
        return ModelFacts(
            temporal="sequence",
            pooling="mean",
            label_order="real-fake",
            channel_order="rgb",
            mean=(0.5, 0.5, 0.5),
            std=(0.5, 0.5, 0.5),
            crop_side=self.crop_rule.side,
            crop_margin=self.crop_rule.margin,
        )


Report = Callable[[str, int, int, str], None]


def train(options: TrainOptions, report: Report | None = None) -> dict[str, Any]:
    """Train, or go on with a run that was stopped, up to `checkpoint.safetensors` in the run's folder.

    `report` is called with the phase, what is done of it, out of how much, and the latest figures. Returns
    what is known of the checkpoint. Raises DatasetError when the data do not suffice, and CheckpointError
    when the checkpoint to start from was made for other pictures.
    """
    say = report or (lambda *_: None)
    rows = read_manifest(options.manifest)
    digest = hashlib.sha256(options.manifest.read_bytes()).hexdigest()
    start = _start(options)
    settings = _settings(options, digest, start)
    folder = RunFolder(options.output, settings)
    device = torch.device(options.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise DatasetError("--device cuda: torch sees no GPU here; train with --device cpu")
    data = {split: _data(options, rows, split, say) for split in ("train", "val")}
    state = folder.load_state() or {"seed": options.seed, "curve": []}
    facts = options.facts
    run = FrameRun(folder, state, data["train"], data["val"], facts, device, options.workers, say)
    teacher = tune_teacher(run, options.teacher) if options.teacher else None
    weights = start.extractor.backbone.state_dict() if start else None
    backbone = train_backbone(run, options.backbone, teacher, weights)
    rounds = {"train": options.sequence.train_rounds, "val": options.sequence.val_rounds}
    features = {
        split: clip_features(
            folder,
            split,
            data[split],
            rounds[split],
            backbone,
            facts,
            device,
            options.workers,
            partial(_say_clips, say, split),
        )
        for split in ("train", "val")
    }
    classifier = train_sequence(
        folder,
        state,
        features["train"],
        features["val"],
        options.sequence,
        facts,
        lambda step, shown: say("sequence", step, options.sequence.steps, shown),
    )
    folder.write_curve(state["curve"])
    plot_curve(state["curve"], options.output / "curve.svg")
    val = features["val"]
    margins = margins_of(classifier, val)
    scale, shift = fit_platt(margins, val.labels)
    probabilities = probabilities_of(margins, scale, shift)
    facts = replace(
        facts,
        calibration_scale=scale,
        calibration_shift=shift,
        operating_points=operating_points(probabilities, val.labels),
    )
    known = {
        "manifest_sha256": digest,
        "training_command": options.command,
        "training_settings": settings,
        "val_auc": roc_auc(margins, val.labels),
        "val_calibration_error": expected_calibration_error(probabilities, val.labels),
        "val_clips": len(val.labels),
        "training_people": len(np.unique(features["train"].people)),
    }
    path = options.output / CHECKPOINT_NAME
    write_checkpoint(
        path, backbone, SequenceClassifier(classifier.lstm, classifier.head, facts), facts, known
    )
    return {"checkpoint": str(path), "facts": asdict(facts), **known}


def _say_clips(say: Report, split: str, done: int, total: int) -> None:
    say(f"{split} clips", done, total, "")


def _start(options: TrainOptions) -> Checkpoint | None:
    """The checkpoint whose backbone is trained further, if it sees pictures as ours will."""
    if options.start is None:
        return None
    if options.teacher:
        raise DatasetError("a teacher's weights would replace those of the checkpoint; name one of the two")
    start = checkpoint_from_file(options.start)
    for name in ("channel_order", "mean", "std", "crop_side", "crop_margin"):
        got, expected = getattr(start.facts, name), getattr(options.facts, name)
        if got != expected:
            raise CheckpointError(f"{options.start}: {name}: got {got}, expected {expected} as in this run")
    return start


def _settings(options: TrainOptions, manifest_sha256: str, start: Checkpoint | None) -> dict[str, Any]:
    """All that decides the result, and nothing that does not."""
    return {
        "manifest_sha256": manifest_sha256,
        "from": "labelled videos" if options.store else "real faces, forged on the fly",
        "seed": options.seed,
        "crop_rule": asdict(options.crop_rule),
        "num_frames": options.num_frames,
        "start": {"file": start.source, "sha256": start.sha256} if start else None,
        "teacher": {"name": TEACHER_ORIGIN, **asdict(options.teacher)} if options.teacher else None,
        "backbone": asdict(options.backbone),
        "sequence": asdict(options.sequence),
        "device": options.device,
    }


def _data(options: TrainOptions, rows: list[ManifestRow], split: Split, say: Report) -> TrainingData:
    inside = [row for row in rows if row.split == split]
    rule = options.crop_rule
    seed = options.seed if split == "train" else options.seed + 1
    if options.store:
        return CropStoreData(inside, options.store, rule, seed)
    real = [row for row in inside if row.label == "real"]
    seen = 0

    def on_row(_: ManifestRow) -> None:
        nonlocal seen
        seen += 1
        say(f"{split} faces", seen, len(real), "")

    detector, _ = default_detector(DEFAULT_DETECTOR_SIZE)
    portraits, faults = portraits_of_rows(real, options.manifest.parent, detector, on_row)
    if not portraits:
        first = next(iter(faults.values()), "the manifest has no real rows there")
        raise DatasetError(f"{options.manifest}: no usable real face in the split {split}: {first}")
    amount = 1.0 if split == "train" else CALIBRATION_DEGRADATION
    return ForgedData(portraits, rule, options.num_frames, seed, amount)

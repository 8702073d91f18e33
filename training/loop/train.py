"""Training end to end: data, teacher, backbone, sequence head, probability calibration, checkpoint."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from deepfake_triton.classification_metrics import expected_calibration_error, roc_auc
from deepfake_triton.errors import CheckpointError, DatasetError
from deepfake_triton.models.checkpoints.checkpoint import Checkpoint, checkpoint_from_file
from deepfake_triton.models.checkpoints.writer import write_checkpoint
from deepfake_triton.models.networks import SequenceClassifier
from deepfake_triton.models.resnext import ResNeXt50
from deepfake_triton.training.augmentation.codec import has_h264
from deepfake_triton.training.augmentation.pair_options import AUGMENTATIONS, PairOptions
from deepfake_triton.training.distillation.teacher import ORIGIN as TEACHER_ORIGIN
from deepfake_triton.training.evaluation.calibration.platt import fit_calibration
from deepfake_triton.training.loop.clip_features import ClipFeatures, extract_clip_features
from deepfake_triton.training.loop.curve_plot import plot_curve
from deepfake_triton.training.loop.frame_phase import fine_tune_teacher, train_backbone
from deepfake_triton.training.loop.parts import AVERAGE_NAME, MIB, remove_parts, write_parts
from deepfake_triton.training.loop.run_dir import RunDir, TrainingRun
from deepfake_triton.training.loop.run_state import RunState
from deepfake_triton.training.loop.schedule import Budget, StopRequest, stop_on_signals
from deepfake_triton.training.loop.sequence_phase import predict_margins, train_sequence
from deepfake_triton.training.loop.settings import Progress, TrainOptions
from deepfake_triton.training.samples.opening import DataFile, SampleSettings, open_split, read_data_file
from deepfake_triton.training.samples.sources import TrainingData
from deepfake_triton.training.samples.tensor_batches import require_cpu_pairs

CHECKPOINT_NAME = "checkpoint.safetensors"


@dataclass(frozen=True)
class TrainingProvenance:
    """Origin of a checkpoint: its data, command and settings, and its figures on held-out people.

    The fields are keys of the checkpoint's metadata.
    """

    manifest_sha256: str
    training_command: str
    training_settings: dict[str, Any]
    val_auc: float
    val_calibration_error: float
    val_clips: int
    training_people: int


@dataclass(frozen=True)
class TrainingResult:
    """The checkpoint file that was written, its parts where they were asked for, and its provenance."""

    checkpoint: Path
    provenance: TrainingProvenance
    parts: tuple[Path, ...] = ()


def train(options: TrainOptions, on_progress: Progress | None = None) -> TrainingResult:
    """Train, or resume an interrupted run, up to `checkpoint.safetensors` in the run folder.

    A run by the clock that is asked to stop, by SIGINT or SIGTERM, writes it with what it has learned.
    Raises DatasetError when the data do not suffice, and CheckpointError when the checkpoint to start from
    expects other images.
    """
    stop, begin_s = StopRequest(), time.monotonic()
    if options.minutes is None:
        return _train(options, on_progress or _ignore_progress, stop=stop, begin_s=begin_s)
    with stop_on_signals(stop):
        return _train(options, on_progress or _ignore_progress, stop=stop, begin_s=begin_s)


def _train(options: TrainOptions, progress: Progress, *, stop: StopRequest, begin_s: float) -> TrainingResult:
    device = _require_device(options)
    data = read_data_file(options.manifest)
    start = _load_start(options)
    settings = _run_settings(options, data, start)
    folder = RunDir(options.output, settings)
    state = folder.load_state() or RunState(options.seed)
    run = TrainingRun(
        folder=folder,
        train=_open_data(options, data, "train", on_progress=progress, stop=stop),
        val=_open_data(options, data, "val", on_progress=progress, stop=stop),
        metadata=options.metadata,
        device=device,
        workers=options.workers,
        on_progress=progress,
        budget=Budget(begin_s - state.seconds, 60 * options.minutes) if options.minutes else None,
        stop=stop,
        part_bytes=options.part_mib * MIB if options.part_mib else None,
        has_teacher=options.teacher is not None,
        generates_on_device=options.generates_on_device,
    )
    backbone, state = _train_backbone(run, state, options, start=start)
    train_clips = extract_clip_features(run, "train", backbone, rounds=options.sequence.train_rounds)
    val_clips = extract_clip_features(run, "val", backbone, rounds=options.sequence.val_rounds)
    classifier, state = train_sequence(run, state, options.sequence, train=train_clips, val=val_clips)
    folder.write_curve(state.curve)
    plot_curve(state.curve, options.output / "curve.svg")
    people = len(np.unique(train_clips.people))
    result = _write_calibrated(options, backbone, classifier, val=val_clips, settings=settings, people=people)
    if run.part_bytes is None:
        return result
    remove_parts(options.output / AVERAGE_NAME)
    return replace(result, parts=tuple(write_parts(result.checkpoint, run.part_bytes)))


def _require_device(options: TrainOptions) -> torch.device:
    """Return the device. Raises DatasetError when it is not there, or can't make the pairs asked for."""
    device = torch.device(options.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise DatasetError("--device cuda: torch sees no GPU here; train with --device cpu")
    if options.generates_on_device:
        require_cpu_pairs(options.pairs, pairs=options.backbone.pairs, workers=options.workers)
    return device


def _train_backbone(
    run: TrainingRun, state: RunState, options: TrainOptions, *, start: Checkpoint | None
) -> tuple[ResNeXt50, RunState]:
    teacher = None
    if options.teacher:
        teacher, state = fine_tune_teacher(run, state, options.teacher)
    weights = start.extractor.backbone.state_dict() if start else None
    return train_backbone(run, state, options.backbone, teacher=teacher, start=weights)


def _write_calibrated(
    options: TrainOptions,
    backbone: ResNeXt50,
    classifier: SequenceClassifier,
    *,
    val: ClipFeatures,
    settings: dict[str, Any],
    people: int,
) -> TrainingResult:
    """Fit probability calibration and operating points on held-out clips, and write the checkpoint."""
    margins = predict_margins(classifier, val)
    calibration = fit_calibration(margins, val.labels)
    metadata = replace(
        options.metadata,
        calibration_scale=calibration.scale,
        calibration_shift=calibration.shift,
        operating_points=calibration.operating_points,
        real_at_most=calibration.real_at_most,
    )
    provenance = TrainingProvenance(
        manifest_sha256=settings["manifest_sha256"],
        training_command=options.command,
        training_settings=settings,
        val_auc=roc_auc(margins, val.labels),
        val_calibration_error=expected_calibration_error(calibration.probabilities(margins), val.labels),
        val_clips=len(val.labels),
        training_people=people,
    )
    path = options.output / CHECKPOINT_NAME
    write_checkpoint(
        path,
        backbone=backbone,
        classifier=SequenceClassifier(classifier.lstm, classifier.head, metadata),
        metadata=metadata,
        provenance=asdict(provenance),
    )
    return TrainingResult(path, provenance)


def _ignore_progress(phase: str, *, done: int, total: int, figures: str) -> None:
    del phase, done, total, figures


def _load_start(options: TrainOptions) -> Checkpoint | None:
    """Load the checkpoint whose backbone is trained further, and check that it expects this run's images.

    The side of its crops may be another one: the backbone is convolutional, and learns the new scale.
    """
    if options.start is None:
        return None
    if options.teacher:
        raise DatasetError("a teacher's weights would replace those of the checkpoint; name one of the two")
    start = checkpoint_from_file(options.start)
    for name in ("channel_order", "mean", "std", "crop_margin"):
        got, expected = getattr(start.metadata, name), getattr(options.metadata, name)
        if got != expected:
            raise CheckpointError(f"{options.start}: {name}: got {got}, expected {expected} as in this run")
    return start


def _run_settings(options: TrainOptions, data: DataFile, start: Checkpoint | None) -> dict[str, Any]:
    """Return the settings that determine the result, as stored in `settings.json` and in the checkpoint.

    What earlier releases did not have is named only where it is used.
    """
    newer = {
        "minutes": options.minutes,
        "portraits_sha256": data.portraits_sha256,
        "codecs": None if options.store or has_h264() else "jpeg",
        "generator": "device" if options.generates_on_device else None,
        "pairs": _pair_settings(options.pairs) if options.pairs != PairOptions() else None,
    }
    return {
        "manifest_sha256": data.manifest_sha256,
        # Spelled as in the run folders of earlier releases, which are still resumed.
        "from": "labelled videos" if options.store else "real faces, forged on the fly",
        "seed": options.seed,
        "crop_rule": asdict(options.crop_rule),
        "num_frames": options.num_frames,
        "start": {"file": start.source, "sha256": start.sha256} if start else None,
        "teacher": {"name": TEACHER_ORIGIN, **asdict(options.teacher)} if options.teacher else None,
        "backbone": asdict(options.backbone),
        "sequence": asdict(options.sequence),
        "device": options.device,
        **{name: value for name, value in newer.items() if value is not None},
    }


def _pair_settings(pairs: PairOptions) -> dict[str, Any]:
    return {
        "augmentations": [name for name in AUGMENTATIONS if pairs.has(name)],
        "kinds": list(pairs.kinds),
        "temporal": pairs.temporal,
    }


def _open_data(
    options: TrainOptions,
    data: DataFile,
    split: Literal["train", "val"],
    *,
    on_progress: Progress,
    stop: StopRequest,
) -> TrainingData:
    def on_photo(split: str, *, done: int, total: int) -> None:
        on_progress(f"{split} faces", done=done, total=total, figures="")

    settings = SampleSettings(
        store=options.store,
        rule=options.crop_rule,
        num_frames=options.num_frames,
        seed=options.seed,
        pairs=options.pairs,
    )
    return open_split(data, split, settings, on_photo=on_photo, is_stopped=lambda: stop.requested)

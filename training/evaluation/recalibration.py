"""Refit probability calibration and operating points of a finished checkpoint to videos that it was served.

Training calibrates on clips it generates; real uploads look different.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from deepfake_triton.classification_metrics import expected_calibration_error
from deepfake_triton.errors import CheckpointError, DatasetError, OutputRefused
from deepfake_triton.files.atomic import atomic_write
from deepfake_triton.models.checkpoints.sidecar import read_metadata
from deepfake_triton.models.metadata import metadata_from_mapping
from deepfake_triton.training.evaluation.platt import Calibration, fit_calibration
from deepfake_triton.training.evaluation.results import read_evaluation

_NEAREST_TO_CERTAIN = 1e-6
_OUTDATED_KEYS = ("borders_calibrated_on", "borders_measured_on")
"""Metadata on the thresholds before, which says nothing of the new ones."""


@dataclass(frozen=True)
class Recalibration:
    """New calibration of a checkpoint, and its calibration error (ECE) before and after.

    `clips` is the number of clips that it was fitted to.
    """

    calibration: Calibration
    clips: int
    error_before: float
    error_after: float


def recalibrate(checkpoint: Path, evaluation: Path, output: Path) -> Recalibration:
    """Write a copy of `checkpoint` with the calibration that fits an `evaluation.json` of it.

    Raises CheckpointError or DatasetError when a file cannot be read, or the evaluation is of the split test,
    whose metrics would then be too good; OutputRefused when the output cannot be written.
    """
    metadata, evaluated = read_metadata(checkpoint), read_evaluation(evaluation)
    if evaluated.header.split == "test":
        raise DatasetError(f"{evaluation}: got the split test, expected another; evaluate with --split val")
    scored = [
        (clip.fake_probability, clip.label) for clip in evaluated.scores if clip.fake_probability is not None
    ]
    served = np.array([probability for probability, _ in scored], np.float64)
    labels = np.array([label for _, label in scored], np.int64)
    inside = np.clip(served, _NEAREST_TO_CERTAIN, 1 - _NEAREST_TO_CERTAIN)
    margins = np.log(inside / (1 - inside))
    fitted = fit_calibration(margins, labels)
    before = metadata_from_mapping(metadata)
    calibration = Calibration(
        scale=fitted.scale * before.calibration_scale,
        shift=fitted.scale * before.calibration_shift + fitted.shift,
        operating_points=fitted.operating_points,
        real_at_most=fitted.real_at_most,
    )
    changed = {
        "calibration_scale": calibration.scale,
        "calibration_shift": calibration.shift,
        "operating_points": calibration.operating_points,
        "real_at_most": calibration.real_at_most,
        "calibrated_on": {"clips": len(scored), "manifest": evaluated.header.manifest},
    }
    kept = {key: value for key, value in metadata.items() if key not in _OUTDATED_KEYS}
    _copy_weights(checkpoint, output, {**kept, **{key: json.dumps(v) for key, v in changed.items()}})
    return Recalibration(
        calibration,
        clips=len(scored),
        error_before=expected_calibration_error(served, labels),
        error_after=expected_calibration_error(fitted.probabilities(margins), labels),
    )


def _copy_weights(checkpoint: Path, output: Path, metadata: dict[str, str]) -> None:
    """Write the weights of a checkpoint with other metadata."""
    try:
        tensors = load_file(checkpoint)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{checkpoint}: cannot be read as a checkpoint: {error}") from error
    try:
        with atomic_write(output) as partial:
            save_file(tensors, partial, metadata)
    except (OSError, SafetensorError) as error:
        raise OutputRefused(f"{output}: cannot be written: {error}") from error

"""Calibration and operating points of a finished checkpoint, fitted anew on videos that it was served.

Training calibrates on clips of its own making; videos as they are really sent look different.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from deepfake_triton.errors import CheckpointError, DatasetError
from deepfake_triton.export.facts import facts_from_metadata
from deepfake_triton.metrics import expected_calibration_error
from deepfake_triton.training.calibration import fit_platt, operating_points, probabilities_of
from deepfake_triton.training.model_card import evaluation_figures, metadata_of

_NEAREST_TO_CERTAIN = 1e-6


def recalibrate(checkpoint: Path, evaluation: Path, output: Path) -> dict[str, Any]:
    """Write `checkpoint` with the calibration that fits an `evaluation.json` of it, and say what changed.

    Raises CheckpointError or DatasetError when a file is not what it should be, or the evaluation is of the
    split test, whose figures would then flatter.
    """
    metadata, figures = metadata_of(checkpoint), evaluation_figures(evaluation)
    if figures.get("split") == "test":
        raise DatasetError(f"{evaluation}: got the split test, expected another; evaluate with --split val")
    known = [clip for clip in figures.get("scores", []) if clip["fake_probability"] is not None]
    labels = np.array([clip["label"] for clip in known], np.int64)
    served = np.array([clip["fake_probability"] for clip in known], np.float64)
    inside = np.clip(served, _NEAREST_TO_CERTAIN, 1 - _NEAREST_TO_CERTAIN)
    margins = np.log(inside / (1 - inside))
    scale, shift = fit_platt(margins, labels)
    probabilities = probabilities_of(margins, scale, shift)
    facts = facts_from_metadata(metadata)
    changed = {
        "calibration_scale": scale * facts.calibration_scale,
        "calibration_shift": scale * facts.calibration_shift + shift,
        "operating_points": operating_points(probabilities, labels),
        "calibrated_on": {"clips": len(known), "manifest": figures.get("manifest")},
    }
    try:
        tensors = load_file(checkpoint)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{checkpoint}: cannot be read as a checkpoint: {error}") from error
    texts = {key: json.dumps(value) for key, value in changed.items()}
    partial = output.with_name(f".{output.name}.partial")
    save_file(tensors, partial, {**metadata, **texts})
    partial.replace(output)
    before, after = (expected_calibration_error(each, labels) for each in (served, probabilities))
    return {**changed, "calibration_error_before": before, "calibration_error_after": after}

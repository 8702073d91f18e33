"""Refit probability calibration and operating points of a finished checkpoint to videos that it was served.

Training calibrates on clips it generates; real uploads look different.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from deepfake_triton.classification_metrics import expected_calibration_error
from deepfake_triton.errors import CheckpointError, DatasetError, OutputRefused
from deepfake_triton.files.atomic import atomic_write
from deepfake_triton.models.checkpoints.sidecar import read_metadata
from deepfake_triton.models.metadata import metadata_from_mapping
from deepfake_triton.training.evaluation.calibration.borders import (
    BorderAims,
    Borders,
    BorderScores,
    fit_borders,
)
from deepfake_triton.training.evaluation.calibration.platt import (
    Calibration,
    fit_platt,
    probabilities_from_margins,
)
from deepfake_triton.training.evaluation.corruptions import AS_IS, COMPRESSED
from deepfake_triton.training.evaluation.results import Evaluation, ScoredClip, read_evaluation

_NEAREST_TO_CERTAIN = 1e-6
_OUTDATED_KEYS = ("borders_calibrated_on", "borders_measured_on")
"""Metadata on the thresholds before, which says nothing of the new ones."""
_SCORED_ONCE = ("test", "transfer-odd", "transfer", "all")
"""Splits that are scored once, with the weights that ship: figures of what they chose would be too good."""


@dataclass(frozen=True)
class Recalibration:
    """New calibration of a checkpoint, and its calibration error (ECE) before and after.

    `clips` is the number of scored clips that it was fitted to, clean and compressed.
    """

    calibration: Calibration
    borders: Borders
    clips: int
    error_before: float
    error_after: float


def recalibrate(
    checkpoint: Path, evaluations: Sequence[Path], output: Path, *, aims: BorderAims | None = None
) -> Recalibration:
    """Write a copy of `checkpoint` with the calibration that fits one or more `evaluation.json` of it.

    Clips as they are and the `COMPRESSED` ones are used; of the probability, each split counts alike, clean
    and compressed. Raises CheckpointError or DatasetError when a file cannot be read, or an evaluation has
    clips of `test` or of the odd half of `transfer`, whose metrics would then be too good; OutputRefused when
    the output cannot be written.
    """
    metadata, aims = read_metadata(checkpoint), aims or BorderAims()
    evaluated = [_read_choosable(path) for path in evaluations]
    clips = [clip for one in evaluated for clip in one.scores if clip.corruption in ("", AS_IS, *COMPRESSED)]
    scores = _border_scores(clips, evaluated[0].header.split or "")
    known = ~np.isnan(scores.probabilities)
    served, labels = scores.probabilities[known], scores.labels[known]
    inside = np.clip(served, _NEAREST_TO_CERTAIN, 1 - _NEAREST_TO_CERTAIN)
    margins = np.log(inside / (1 - inside))
    scale, shift = fit_platt(margins, labels, weights=_equal_weights(scores)[known])
    new = np.full(len(known), np.nan)
    new[known] = probabilities_from_margins(margins, scale, shift)
    borders = fit_borders(replace(scores, probabilities=new), aims)
    before = metadata_from_mapping(metadata)
    calibration = Calibration(
        scale=scale * before.calibration_scale,
        shift=scale * before.calibration_shift + shift,
        operating_points=borders.operating_points,
        real_at_most=borders.real_at_most,
    )
    made_of = {
        "clips": int(known.sum()),
        "manifest": ", ".join(str(one.header.manifest) for one in evaluated),
        "splits": sorted(set(scores.splits.tolist())),
        "people": len({clip.identity for clip in clips}),
        "variants": sorted({clip.corruption or AS_IS for clip in clips}),
    }
    changed = {
        "calibration_scale": calibration.scale,
        "calibration_shift": calibration.shift,
        "operating_points": calibration.operating_points,
        "real_at_most": calibration.real_at_most,
        "calibrated_on": made_of,
        "borders_calibrated_on": {"aims": asdict(aims), **borders.to_json()},
    }
    kept = {key: value for key, value in metadata.items() if key not in _OUTDATED_KEYS}
    _copy_weights(checkpoint, output, {**kept, **{key: json.dumps(v) for key, v in changed.items()}})
    return Recalibration(
        calibration,
        borders,
        clips=int(known.sum()),
        error_before=expected_calibration_error(served, labels),
        error_after=expected_calibration_error(new[known], labels),
    )


def _read_choosable(path: Path) -> Evaluation:
    """Read an evaluation whose clips may be used for choices. Raises DatasetError for another."""
    evaluated = read_evaluation(path)
    splits = {clip.split for clip in evaluated.scores} | set((evaluated.header.split or "").split(", "))
    refused = sorted(splits.intersection(_SCORED_ONCE))
    if refused:
        raise DatasetError(
            f"{path}: got the split {', '.join(refused)}, expected another; "
            "evaluate with --split val, or --split val,transfer-even"
        )
    return evaluated


def _border_scores(clips: Sequence[ScoredClip], split: str) -> BorderScores:
    """Return the scores of clips; those that name no split are of `split`."""
    probabilities = [np.nan if clip.fake_probability is None else clip.fake_probability for clip in clips]
    return BorderScores(
        probabilities=np.array(probabilities, np.float64),
        labels=np.array([clip.label for clip in clips], np.int64),
        is_compressed=np.array([clip.corruption in COMPRESSED for clip in clips], np.bool_),
        splits=np.array([clip.split or split for clip in clips], np.str_),
    )


def _equal_weights(scores: BorderScores) -> npt.NDArray[np.float64]:
    """Return weights [N] under which each split, clean and compressed, counts alike; their mean is 1."""
    cells = [inside for _, _, inside in scores.cells()]
    weights = np.zeros(len(scores.labels))
    for inside in cells:
        weights[inside] = len(weights) / (len(cells) * inside.sum())
    return weights


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

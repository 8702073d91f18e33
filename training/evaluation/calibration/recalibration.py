"""Refit probability calibration and operating points of a finished checkpoint to videos that it was served.

Training calibrates on clips it generates; real uploads look different.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from deepfake_triton.classification_metrics import expected_calibration_error, sample_shortfall
from deepfake_triton.dataset_manifest import ALL, ODD
from deepfake_triton.errors import CheckpointError, DatasetError, OutputRefused
from deepfake_triton.files.atomic import atomic_write
from deepfake_triton.files.hashing import sha256_of_file
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
from deepfake_triton.training.evaluation.thresholds import require_same_thresholds

CALIBRATED_FROM = "calibrated_from_sha256"
"""Key in the metadata: SHA-256 of the checkpoint that was calibrated first, with the same weights."""
_NEAREST_TO_CERTAIN = 1e-6
_OUTDATED_KEYS = ("borders_calibrated_on", "borders_measured_on")
"""Metadata on the thresholds before, which says nothing of the new ones."""
_NOT_FOR_CHOICES = ("train", "test", ODD, "transfer", ALL)
"""Splits that were trained on, or are scored once, with the weights that ship: both would look too good."""


@dataclass(frozen=True)
class _Choosable:
    """A clip that chooses; `manifest` and `split` are those of its evaluation where it names none."""

    clip: ScoredClip
    manifest: str
    split: str

    @property
    def is_compressed(self) -> bool:
        return self.clip.corruption in COMPRESSED


@dataclass(frozen=True)
class Recalibration:
    """New calibration of a checkpoint, and its calibration error (ECE) before and after.

    `clips` is the number of clips that it was fitted to, `scores` that of their probabilities, as they are
    and compressed.
    """

    calibration: Calibration
    borders: Borders
    clips: int
    scores: int
    error_before: float
    error_after: float


def recalibrate(
    checkpoint: Path, evaluations: Sequence[Path], output: Path, *, aims: BorderAims | None = None
) -> Recalibration:
    """Write a copy of `checkpoint` with the calibration that fits one or more `evaluation.json` of it.

    Clips as they are and the `COMPRESSED` ones are used, not those under a condition; of the probability,
    each split counts alike, clean and compressed. Raises CheckpointError or DatasetError when a file cannot
    be read, an evaluation was made with other thresholds, has too few clips of a split, or has clips of a
    split whose metrics would then be too good; OutputRefused when the output cannot be written.
    """
    metadata, aims = read_metadata(checkpoint), aims or BorderAims()
    evaluated = [_read_choosable(path, metadata) for path in evaluations]
    chosen = _choosable_clips(evaluated)
    scores = _border_scores(chosen)
    known = ~np.isnan(scores.probabilities)
    _require_enough(scores, known)
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
    num_clips = len(np.unique(scores.clips[known]))
    made_of = {
        "clips": num_clips,
        "scores": int(known.sum()),
        "manifest": ", ".join(str(one.header.manifest) for one in evaluated),
        "splits": sorted(set(scores.splits.tolist())),
        "people": len(np.unique(scores.people[known])),
        "variants": sorted({one.clip.corruption or AS_IS for one in chosen}),
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
    kept.setdefault(CALIBRATED_FROM, sha256_of_file(checkpoint))
    _copy_weights(checkpoint, output, {**kept, **{key: json.dumps(v) for key, v in changed.items()}})
    return Recalibration(
        calibration,
        borders,
        clips=num_clips,
        scores=int(known.sum()),
        error_before=expected_calibration_error(served, labels),
        error_after=expected_calibration_error(new[known], labels),
    )


def _read_choosable(path: Path, metadata: Mapping[str, str]) -> Evaluation:
    """Read an evaluation whose clips may be used for choices. Raises DatasetError for another."""
    evaluated = read_evaluation(path)
    splits = {clip.split for clip in evaluated.scores} | set((evaluated.header.split or "").split(", "))
    refused = sorted(splits.intersection(_NOT_FOR_CHOICES))
    if refused:
        raise DatasetError(
            f"{path}: got the split {', '.join(refused)}, expected another; "
            "evaluate with --split val, or --split val,transfer-even"
        )
    if not evaluated.scores:
        raise DatasetError(
            f"{path}: got no scores, expected those of every clip, as `evaluate` writes them; evaluate again"
        )
    require_same_thresholds(evaluated, metadata, path)
    return evaluated


def _choosable_clips(evaluated: Sequence[Evaluation]) -> list[_Choosable]:
    """Return the clips that choose, each once per variant, also where evaluations share some."""
    found: dict[object, _Choosable] = {}
    for number, one in enumerate(evaluated):
        manifest, split = one.header.manifest or f"that of evaluation {number}", one.header.split or ""
        for clip in one.scores:
            if not clip.condition and clip.corruption in ("", AS_IS, *COMPRESSED):
                key = (manifest, clip.path, clip.corruption) if clip.path else id(clip)
                found.setdefault(key, _Choosable(clip, manifest, clip.split or split))
    return list(found.values())


def _border_scores(chosen: Sequence[_Choosable]) -> BorderScores:
    clips = [one.clip for one in chosen]
    probabilities = [np.nan if clip.fake_probability is None else clip.fake_probability for clip in clips]
    shown = [f"{one.manifest}\n{one.clip.path or number}" for number, one in enumerate(chosen)]
    return BorderScores(
        probabilities=np.array(probabilities, np.float64),
        labels=np.array([clip.label for clip in clips], np.int64),
        is_compressed=np.array([one.is_compressed for one in chosen], np.bool_),
        splits=np.array([one.split for one in chosen], np.str_),
        clips=_numbered(shown),
        people=_numbered([clip.identity for clip in clips]),
    )


def _numbered(names: Sequence[str]) -> npt.NDArray[np.int64]:
    """Return a number for each name [N], the same for the same name."""
    return np.unique(names, return_inverse=True)[1].astype(np.int64)


def _require_enough(scores: BorderScores, known: npt.NDArray[np.bool_]) -> None:
    """Raise DatasetError where a split has too few clips with a probability."""
    for split, inside in scores.by_split():
        _, first = np.unique(scores.clips[inside & known], return_index=True)
        shortfall = sample_shortfall(
            scores.labels[inside & known][first], scores.people[inside & known][first]
        )
        if shortfall:
            raise DatasetError(f"the split {split}: got {shortfall}; evaluate more clips")


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

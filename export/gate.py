"""The parity gate on labelled clips: what an engine does to verdicts, from frames to probability."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from deepfake_triton.contracts import (
    DEFAULT_FRAMES,
    DEFAULT_OPERATING_POINT,
    DETECTIONS,
    FAKE_PROBABILITY,
    FEATURES,
    FRAMES,
    faces_spec,
)
from deepfake_triton.errors import InputError, ParityError
from deepfake_triton.export.facts import ModelFacts
from deepfake_triton.export.parity_limits import LIMITS, Precision
from deepfake_triton.export.runners import Runner
from deepfake_triton.manifest import read_manifest
from deepfake_triton.metrics import roc_auc
from deepfake_triton.preprocessing.faces import faces_from_detections
from deepfake_triton.preprocessing.sampling import FrameSelection
from deepfake_triton.preprocessing.video import FrameBatch, decode_clip

_NO_FACE = 0.0
"""Stands for the probability where one side finds no face and the other does: a verdict that was flipped."""


@dataclass(frozen=True)
class EnginePath:
    """The three graphs of an export under one engine. A `classifier` of None: the extractor answers for both,
    as torch's runner does."""

    detector: Runner
    extractor: Runner
    classifier: Runner | None = None


@dataclass(frozen=True)
class GateReport:
    """Of labelled clips (`unused` more show no face, or cannot be read): areas under the curve, the share of
    verdicts that are `flipped` at `threshold`, and the clip whose probability moved most."""

    manifest: str
    clips: int
    unused: int
    threshold: float
    reference_auc: float
    auc: float
    flipped: float
    mean_difference: float
    worst_clip: str
    worst_difference: float

    def require_passed(self, precision: Precision) -> None:
        """Raise ParityError, naming the worst clip, when a limit is exceeded."""
        limits = LIMITS[precision]
        if self.flipped > limits.flipped or self.reference_auc - self.auc > limits.auc:
            raise ParityError(
                f"{precision} flips {self.flipped:.1%} of {self.clips} verdicts (limit {limits.flipped:.1%}) "
                f"and takes the AUC from {self.reference_auc:.4f} to {self.auc:.4f} (at most {limits.auc} "
                f"less); worst: {self.worst_clip}, by {self.worst_difference:.3f}: nothing was written"
            )

    def as_dict(self) -> dict[str, Any]:
        """For `export_report.json`."""
        return asdict(self)


def check_gate(manifest: Path, facts: ModelFacts, reference: EnginePath, engine: EnginePath) -> GateReport:
    """Judge every clip of the manifest twice. Raises ParityError without clips of both labels."""
    names, labels, wanted, got = [], [], [], []
    unused = 0
    for row in read_manifest(manifest):
        try:
            frames = decode_clip(manifest.parent / row.path, FrameSelection(DEFAULT_FRAMES)).frames
            one, two = (_probability(frames, each, facts) for each in (reference, engine))
        except InputError:
            one = two = None
        if one is None and two is None:
            unused += 1
            continue
        names.append(row.path)
        labels.append(int(row.label == "fake"))
        wanted.append(_NO_FACE if one is None else one)
        got.append(_NO_FACE if two is None else two)
    if len(set(labels)) < 2:
        raise ParityError(f"--gate {manifest}: {len(names)} clips show a face, expected some of both labels")
    points = facts.operating_points
    threshold = points.get("balanced", next(iter(points.values()), DEFAULT_OPERATING_POINT))
    expected, found, truth = np.array(wanted), np.array(got), np.array(labels)
    moved = np.abs(expected - found)
    worst = int(moved.argmax())
    return GateReport(
        manifest=manifest.name,
        clips=len(names),
        unused=unused,
        threshold=threshold,
        reference_auc=roc_auc(expected, truth),
        auc=roc_auc(found, truth),
        flipped=float((_verdicts(expected, threshold) != _verdicts(found, threshold)).mean()),
        mean_difference=float(moved.mean()),
        worst_clip=names[worst],
        worst_difference=float(moved[worst]),
    )


def _verdicts(probabilities: npt.NDArray[np.float64], threshold: float) -> npt.NDArray[np.int64]:
    """1 for FAKE, 0 for REAL, and -1 for a clip in which no face was found."""
    verdicts: npt.NDArray[np.int64] = (probabilities >= threshold).astype(np.int64)
    return np.where(probabilities == _NO_FACE, -1, verdicts)


def _probability(frames: FrameBatch, path: EnginePath, facts: ModelFacts) -> float | None:
    """Of the clip's most suspicious face; None without a face."""
    detections = path.detector.infer({FRAMES.name: frames.data})[DETECTIONS.name]
    tracked = faces_from_detections(frames.data, detections, facts.crop_rule)
    if not tracked.found:
        return None
    answer = path.extractor.infer({faces_spec(facts.crop_side).name: tracked.faces})
    if path.classifier:
        answer = path.classifier.infer({FEATURES.name: answer[FEATURES.name]})
    return float(answer[FAKE_PROBABILITY.name].max())

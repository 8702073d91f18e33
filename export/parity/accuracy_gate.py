"""Accuracy gate on labeled clips: what an exported engine does to verdicts, from frames to probability."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from deepfake_triton.classification_metrics import roc_auc
from deepfake_triton.console.progress import track_progress
from deepfake_triton.contracts import DEFAULT_FRAMES
from deepfake_triton.dataset_manifest import ManifestRow, read_manifest
from deepfake_triton.errors import InputError, ParityError
from deepfake_triton.export.options import PrecisionName
from deepfake_triton.export.parity.tolerances import TOLERANCES
from deepfake_triton.models.local_pipeline import LocalPipeline
from deepfake_triton.models.metadata import ModelMetadata
from deepfake_triton.models.runtimes.base import Runner
from deepfake_triton.models.stages import Stages
from deepfake_triton.operating_point import default_operating_point, points_from_thresholds
from deepfake_triton.preprocessing.video.frame_batch import FrameBatch
from deepfake_triton.preprocessing.video.sampling import FrameSelection
from deepfake_triton.repository.report_sections import GateReport

_NO_FACE = 0.0
"""Stands for the probability where one side finds no face and the other does: a verdict that was flipped."""


@dataclass(frozen=True)
class GateClips:
    """The labeled clips of a gate; paths of `rows` are relative to the folder of the manifest."""

    manifest: Path
    rows: Sequence[ManifestRow]


@dataclass(frozen=True)
class _ScoredClip:
    """The probability of FAKE of one clip by the reference and by the exported engine."""

    path: str
    is_fake: bool
    expected: float
    got: float


def read_gate_clips(manifest: Path) -> GateClips:
    """Read the manifest of a gate. Raises DatasetError."""
    return GateClips(manifest, read_manifest(manifest))


def check_accuracy(
    clips: GateClips,
    metadata: ModelMetadata,
    precision: PrecisionName,
    *,
    reference: Stages[Runner],
    exported: Stages[Runner],
    detection_interval: int = 1,
) -> GateReport:
    """Compare verdicts on labeled clips, both with faces detected in every `detection_interval`th frame.

    Raises ParityError when a tolerance of the precision is exceeded, or without clips of both labels.
    """
    report = measure_accuracy(
        clips, metadata, reference=reference, exported=exported, detection_interval=detection_interval
    )
    require_accuracy(report, precision)
    return report


def measure_accuracy(
    clips: GateClips,
    metadata: ModelMetadata,
    *,
    reference: Stages[Runner],
    exported: Stages[Runner],
    detection_interval: int = 1,
) -> GateReport:
    """Score every clip by both engines. Raises ParityError without clips of both labels."""
    pipelines = [
        LocalPipeline(stages, metadata.crop_rule, detection_interval) for stages in (reference, exported)
    ]
    scored = _score_clips(clips, *pipelines)
    if len({clip.is_fake for clip in scored}) < 2:
        raise ParityError(
            f"--gate {clips.manifest}: {len(scored)} clips show a face, expected some of both labels"
        )
    points = points_from_thresholds(metadata.operating_points, metadata.real_at_most)
    threshold = default_operating_point(points).fake_at_least
    labels = np.array([int(clip.is_fake) for clip in scored])
    expected, got = np.array([clip.expected for clip in scored]), np.array([clip.got for clip in scored])
    differences = np.abs(expected - got)
    worst = int(differences.argmax())
    return GateReport(
        manifest=clips.manifest.name,
        clips=len(scored),
        unused=len(clips.rows) - len(scored),
        threshold=threshold,
        reference_auc=roc_auc(expected, labels),
        auc=roc_auc(got, labels),
        flipped=float((_verdicts(expected, threshold) != _verdicts(got, threshold)).mean()),
        mean_difference=float(differences.mean()),
        worst_clip=scored[worst].path,
        worst_difference=float(differences[worst]),
    )


def require_accuracy(report: GateReport, precision: PrecisionName) -> None:
    """Raise ParityError, naming the worst clip, when a tolerance is exceeded."""
    limits = TOLERANCES[precision]
    if report.flipped > limits.max_flipped_share or report.reference_auc - report.auc > limits.max_auc_drop:
        raise ParityError(
            f"{precision} flips {report.flipped:.1%} of {report.clips} verdicts (limit "
            f"{limits.max_flipped_share:.1%}) and takes the AUC from {report.reference_auc:.4f} to "
            f"{report.auc:.4f} (at most {limits.max_auc_drop} less); worst: {report.worst_clip}, by "
            f"{report.worst_difference:.3f}: nothing was written"
        )


def _score_clips(clips: GateClips, reference: LocalPipeline, exported: LocalPipeline) -> list[_ScoredClip]:
    """Score the clips that can be read and in which either engine finds a face."""
    from deepfake_triton.preprocessing.video.clip import decode_clip  # PyAV, which nothing else here needs

    scored = []
    for row in track_progress(clips.rows, "scoring clips with both engines", "clips"):
        try:
            frames = decode_clip(clips.manifest.parent / row.path, FrameSelection(DEFAULT_FRAMES)).frames
            expected, got = (_probability(pipeline, frames) for pipeline in (reference, exported))
        except InputError:
            continue
        if expected is None and got is None:
            continue
        scored.append(
            _ScoredClip(
                row.path,
                row.label == "fake",
                _NO_FACE if expected is None else expected,
                _NO_FACE if got is None else got,
            )
        )
    return scored


def _verdicts(probabilities: npt.NDArray[np.float64], threshold: float) -> npt.NDArray[np.int64]:
    """Return 1 for FAKE, 0 for REAL, and -1 for a clip in which no face was found."""
    verdicts: npt.NDArray[np.int64] = (probabilities >= threshold).astype(np.int64)
    return np.where(probabilities == _NO_FACE, -1, verdicts)


def _probability(pipeline: LocalPipeline, frames: FrameBatch) -> float | None:
    """Return the probability of the clip's most suspicious face; None without a face."""
    faces = pipeline.faces(frames.data)
    return float(pipeline.probabilities(faces).max()) if faces.found else None

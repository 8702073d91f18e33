"""Parity check: the exported graphs answer as torch does, on real face crops."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from deepfake_triton.arrays import Frames
from deepfake_triton.console.progress import track_progress
from deepfake_triton.contracts import DETECTIONS, FAKE_PROBABILITY, FEATURES, FRAMES, LOGITS, faces_spec
from deepfake_triton.errors import ParityError
from deepfake_triton.export.options import PrecisionName
from deepfake_triton.export.parity.error_metrics import face_differences
from deepfake_triton.export.parity.sample import ParitySample
from deepfake_triton.export.parity.tolerances import TOLERANCES
from deepfake_triton.models.runtimes.base import Feed, Runner
from deepfake_triton.models.stages import Stages
from deepfake_triton.repository.report_sections import ParityCase, ParityReport

BATCHES = (1, 2, 7)
CLIP_LENGTHS = (1, 5, 20)
BATCHED_CLIPS = (7, 5)
"""Number of clips, and of their frames, that are classified batched and one by one."""
_NOT_RUN = "not run: no GPU here that the engines are for; their graphs were checked"


def check_parity(
    sample: ParitySample,
    precision: PrecisionName,
    *,
    reference: Stages[Runner],
    exported: Stages[Runner],
    engines_run_here: bool = True,
) -> ParityReport:
    """Compare the exported graphs with the reference on a sample of crops.

    The report says so where `exported` stands for engines that do not run here. Raises ParityError, naming
    the worst sample, when a tolerance of the precision is exceeded, or when a lower precision than FP32 would
    be checked without a real face.
    """
    if not sample.shows_faces and precision != "fp32":
        raise ParityError(
            f"--precision {precision} has to be checked on real faces: name a video with --parity"
        )
    report = measure_parity(
        sample, precision, reference=reference, exported=exported, engines_run_here=engines_run_here
    )
    require_parity(report)
    return report


def measure_parity(
    sample: ParitySample,
    precision: PrecisionName,
    *,
    reference: Stages[Runner],
    exported: Stages[Runner],
    engines_run_here: bool = True,
) -> ParityReport:
    """Measure differences from crops to probability, at every batch size and clip length, and between the
    detectors. Raises ParityError when an output has another shape."""
    cases, logit_spread = _compare_clips(sample.crops, reference, exported)
    wanted, found = (
        stages.detector.infer({FRAMES.name: sample.frames})[DETECTIONS.name]
        for stages in (reference, exported)
    )
    by_frame = face_differences(wanted, found)
    return ParityReport(
        precision=precision,
        crops=sample.source,
        num_crops=len(sample.crops),
        logit_spread=logit_spread,
        cases=cases,
        detection_difference=float(np.mean([value for frame in by_frame for value in frame] or [0.0])),
        detector_batch_difference_px=_detector_batch_difference(exported.detector, sample.frames),
        batch_probability_difference=_clip_batch_difference(exported, sample.crops),
        worst_frame=int(np.argmax([np.mean(frame or [0.0]) for frame in by_frame])),
        limits=TOLERANCES[precision].parity_limits(logit_spread),
        runtimes={
            "reference": reference.extractor.runtime,
            "extractor": exported.extractor.runtime,
            "detector": exported.detector.runtime,
            "classifier": exported.classifier.runtime,
            **({} if engines_run_here else {"tensorrt": _NOT_RUN}),
        },
    )


def require_parity(report: ParityReport) -> None:
    """Raise ParityError, naming the worst sample, when a difference exceeds its limit."""
    limits = report.limits
    for name, limit in (
        ("max_logit_difference", math.inf if limits.logit is None else limits.logit),
        ("max_probability_difference", limits.probability),
    ):
        worst = max(report.cases, key=lambda case, name=name: _nan_as_infinity(getattr(case, name)))  # type: ignore[misc]
        value = _nan_as_infinity(getattr(worst, name))
        if value > limit:
            raise ParityError(
                f"{name} {value:.2e} at batch {worst.batch}, {worst.frames} frames, at most {limit:.2e}; "
                f"worst: the clip from crop {worst.worst_crop} on, of {report.crops}: the exported graph "
                "does not answer as torch does, nothing was written"
            )
    if _nan_as_infinity(report.detection_difference) > limits.detection:
        raise ParityError(
            f"the detector's faces differ by {report.detection_difference:.2e} (overlap and score) from "
            f"its FP32 graph's, at most {limits.detection:.0e}; worst: frame {report.worst_frame} of "
            f"those of {report.crops}: nothing was written"
        )
    if _nan_as_infinity(report.batch_probability_difference) > limits.batch_probability:
        raise ParityError(
            f"a batch of clips moves probabilities by {report.batch_probability_difference:.2e} against "
            f"clip by clip; at most {limits.batch_probability:.0e}: nothing was written"
        )
    if _nan_as_infinity(report.detector_batch_difference_px) > limits.detector_batch_px:
        raise ParityError(
            f"a batch of frames moves detections by {report.detector_batch_difference_px:.2e} px against "
            f"frame by frame; at most {limits.detector_batch_px:.0e}: nothing was written"
        )


def _compare_clips(
    crops: Frames, reference: Stages[Runner], exported: Stages[Runner]
) -> tuple[tuple[ParityCase, ...], float]:
    """Return a case for every batch size and clip length, and the spread of the reference's logits."""
    name = faces_spec(crops.shape[1]).name
    # In torch the features of a crop do not depend on its batch: each crop once is enough.
    features = reference.extractor.infer({name: crops[:, None]})[FEATURES.name][:, 0]
    cases, logits = [], []
    for batch in track_progress(BATCHES, "comparing with torch", "batch sizes"):
        for frames in CLIP_LENGTHS:
            chosen = _crop_indices(len(crops), batch, frames)
            expected = reference.classifier.infer({FEATURES.name: features[chosen]})
            logits.append(expected[LOGITS.name])
            cases.append(_case(_classify(exported, crops[chosen]), expected, chosen))
    return tuple(cases), float(np.ptp(np.concatenate(logits), axis=0).max())


def _classify(stages: Stages[Runner], faces: Frames) -> Feed:
    """Return the classifier's outputs for crops [B, T, S, S, 3]."""
    features = stages.extractor.infer({faces_spec(faces.shape[2]).name: faces})[FEATURES.name]
    return stages.classifier.infer({FEATURES.name: features})


def _case(got: Feed, expected: Feed, chosen: npt.NDArray[np.int64]) -> ParityCase:
    """Compare the outputs for the crops of indices `chosen` [B, T]."""
    probability = FAKE_PROBABILITY.name
    largest = _max_difference(got[probability], expected[probability])
    by_clip = np.abs(got[probability] - expected[probability]).reshape(len(chosen), -1)
    return ParityCase(
        batch=chosen.shape[0],
        frames=chosen.shape[1],
        max_logit_difference=_max_difference(got[LOGITS.name], expected[LOGITS.name]),
        max_probability_difference=largest,
        worst_crop=int(chosen[by_clip.max(axis=1).argmax(), 0]),
    )


def _crop_indices(num_crops: int, batch: int, frames: int) -> npt.NDArray[np.int64]:
    """Return the crops that make up a batch, [B, T]: clips with different starts, so that rows differ."""
    starts = np.arange(batch)[:, None] * 5
    return (starts + np.arange(frames)[None, :]) % num_crops


def _clip_batch_difference(stages: Stages[Runner], crops: Frames) -> float:
    """Return how far a batch of clips moves probabilities against clip by clip."""
    faces = crops[_crop_indices(len(crops), *BATCHED_CLIPS)]
    batched = _classify(stages, faces)[FAKE_PROBABILITY.name]
    single = [_classify(stages, faces[row : row + 1])[FAKE_PROBABILITY.name] for row in range(len(faces))]
    return _max_difference(batched, np.concatenate(single))


def _detector_batch_difference(detector: Runner, frames: Frames) -> float:
    """Return how far a batch of frames moves detections against frame by frame, in px."""
    batched = detector.infer({FRAMES.name: frames})[DETECTIONS.name]
    single = [detector.infer({FRAMES.name: frames[i : i + 1]})[DETECTIONS.name] for i in range(len(frames))]
    return _max_difference(batched, np.concatenate(single))


def _max_difference(got: npt.NDArray[Any], expected: npt.NDArray[Any]) -> float:
    if got.shape != expected.shape:
        raise ParityError(
            f"got shape {list(got.shape)}, expected {list(expected.shape)}: nothing was written"
        )
    return float(np.max(np.abs(got - expected)))


def _nan_as_infinity(value: float) -> float:
    """NaN compares as smaller than every limit; it is worse than all of them."""
    return float("inf") if np.isnan(value) else value

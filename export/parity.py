"""Proof that the exported graphs answer as torch does, on real face crops."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from deepfake_triton.contracts import DETECTIONS, FAKE_PROBABILITY, FEATURES, FRAMES, LOGITS, faces_spec
from deepfake_triton.errors import ParityError
from deepfake_triton.export.differences import face_differences
from deepfake_triton.export.parity_limits import LIMITS, ParityLimits, Precision
from deepfake_triton.export.parity_sample import ParitySample
from deepfake_triton.export.runners import Feed, Runner

BATCHES = (1, 2, 7)
CLIP_LENGTHS = (1, 5, 20)
TOGETHER = (7, 5)
"""Clips and their frames that are judged batched and alone."""


@dataclass(frozen=True)
class ParityCase:
    """The largest differences at one batch size and clip length, and the crop with which the clip begins
    whose probability differs most."""

    batch: int
    frames: int
    max_logit_difference: float
    max_probability_difference: float
    worst_crop: int = 0


@dataclass(frozen=True)
class ParityReport:
    """`crops` says what was compared; the limits are the precision's.

    Detections differ most in the frame `worst_frame`; `batch_probability_difference` and
    `detector_batch_difference_px` are of the same engine alone and batched.
    """

    precision: Precision
    crops: str
    num_crops: int
    logit_spread: float
    cases: tuple[ParityCase, ...]
    detection_difference: float
    detector_batch_difference_px: float
    batch_probability_difference: float = 0.0
    worst_frame: int = 0

    @property
    def limits(self) -> ParityLimits:
        """For this report's precision."""
        return LIMITS[self.precision]

    @property
    def logit_limit(self) -> float:
        """What a difference of logits must not exceed; it grows with their spread, where that is over 1."""
        return math.inf if self.limits.logit is None else self.limits.logit * max(1.0, self.logit_spread)

    def as_dict(self) -> dict[str, Any]:
        """For `export_report.json`."""
        limits = {
            "logit": None if self.limits.logit is None else self.logit_limit,
            "probability": self.limits.probability,
            "detection": self.limits.detection,
            "detector_batch_px": self.limits.batch_px,
            "batch_probability": self.limits.batch_probability,
        }
        return {**asdict(self), "limits": limits}

    def require_passed(self) -> None:
        """Raise ParityError, naming the worst sample, when a limit is exceeded."""
        for name, limit in (
            ("max_logit_difference", self.logit_limit),
            ("max_probability_difference", self.limits.probability),
        ):
            worst = max(self.cases, key=lambda case, name=name: _or_infinity(getattr(case, name)))  # type: ignore[misc]
            value = _or_infinity(getattr(worst, name))
            if value > limit:
                raise ParityError(
                    f"{name} {value:.2e} at batch {worst.batch}, {worst.frames} frames, at most {limit:.2e}; "
                    f"worst: the clip from crop {worst.worst_crop} on, of {self.crops}: the exported graph "
                    "does not answer as torch does, nothing was written"
                )
        if _or_infinity(self.detection_difference) > self.limits.detection:
            raise ParityError(
                f"the detector's faces differ by {self.detection_difference:.2e} (overlap and score) from "
                f"its FP32 graph's, at most {self.limits.detection:.0e}; worst: frame {self.worst_frame} of "
                f"those of {self.crops}: nothing was written"
            )
        if _or_infinity(self.batch_probability_difference) > self.limits.batch_probability:
            raise ParityError(
                f"a batch of clips moves probabilities by {self.batch_probability_difference:.2e} against "
                f"clip by clip; at most {self.limits.batch_probability:.0e}: nothing was written"
            )
        if _or_infinity(self.detector_batch_difference_px) > self.limits.batch_px:
            raise ParityError(
                f"a batch of frames moves detections by {self.detector_batch_difference_px:.2e} px against "
                f"frame by frame; at most {self.limits.batch_px:.0e}: nothing was written"
            )


def check_parity(
    sample: ParitySample,
    precision: Precision,
    reference: Runner,
    extractor: Runner,
    classifier: Runner,
    detector: Runner,
    reference_detector: Runner,
) -> ParityReport:
    """Compare crops to probability, at every batch size and clip length, and what the detectors find."""
    name = faces_spec(sample.crops.shape[1]).name

    def judged(faces: npt.NDArray[np.uint8]) -> Feed:
        return classifier.infer({FEATURES.name: extractor.infer({name: faces})[FEATURES.name]})

    # In torch the features of a crop do not depend on its batch: each crop once is enough.
    features = reference.infer({name: sample.crops[:, None]})[FEATURES.name][:, 0]
    cases, logits = [], []
    for batch in BATCHES:
        for frames in CLIP_LENGTHS:
            chosen = _indices(len(sample.crops), batch, frames)
            faces, expected = sample.crops[chosen], reference.infer({FEATURES.name: features[chosen]})
            logits.append(expected[LOGITS.name])
            cases.append(_case(judged(faces), expected, frames, len(sample.crops)))
    spread = float(np.ptp(np.concatenate(logits), axis=0).max())
    faces = sample.crops[_indices(len(sample.crops), *TOGETHER)]
    together = judged(faces)[FAKE_PROBABILITY.name]
    alone = [judged(faces[row : row + 1])[FAKE_PROBABILITY.name] for row in range(len(faces))]
    wanted, found = (
        each.infer({FRAMES.name: sample.frames})[DETECTIONS.name] for each in (reference_detector, detector)
    )
    by_frame = face_differences(wanted, found)
    return ParityReport(
        precision,
        sample.source,
        len(sample.crops),
        spread,
        tuple(cases),
        float(np.mean([value for frame in by_frame for value in frame] or [0.0])),
        _batch_difference(detector, sample.frames),
        _difference(together, np.concatenate(alone)),
        int(np.argmax([np.mean(frame or [0.0]) for frame in by_frame])),
    )


def _case(got: Feed, expected: Feed, frames: int, num_crops: int) -> ParityCase:
    probability = FAKE_PROBABILITY.name
    largest = _difference(got[probability], expected[probability])
    by_clip = np.abs(got[probability] - expected[probability]).reshape(len(expected[probability]), -1)
    worst = int(by_clip.max(axis=1).argmax())
    return ParityCase(
        len(by_clip),
        frames,
        _difference(got[LOGITS.name], expected[LOGITS.name]),
        largest,
        int(_indices(num_crops, len(by_clip), frames)[worst, 0]),
    )


def _indices(num_crops: int, batch: int, frames: int) -> npt.NDArray[np.int64]:
    """Which crops make up a batch, [B, T]: clips that start at different ones, so that rows differ."""
    starts = np.arange(batch)[:, None] * 5
    return (starts + np.arange(frames)[None, :]) % num_crops


def _batch_difference(detector: Runner, frames: npt.NDArray[np.uint8]) -> float:
    together = detector.infer({FRAMES.name: frames})[DETECTIONS.name]
    alone = [detector.infer({FRAMES.name: frames[i : i + 1]})[DETECTIONS.name] for i in range(len(frames))]
    return _difference(together, np.concatenate(alone))


def _difference(got: npt.NDArray[Any], expected: npt.NDArray[Any]) -> float:
    if got.shape != expected.shape:
        raise ParityError(
            f"got shape {list(got.shape)}, expected {list(expected.shape)}: nothing was written"
        )
    return float(np.max(np.abs(got - expected)))


def _or_infinity(value: float) -> float:
    """NaN compares as smaller than every limit; it is worse than all of them."""
    return float("inf") if np.isnan(value) else value

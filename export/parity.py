"""Proof that the exported graphs answer as torch does, on real face crops."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from deepfake_triton.contracts import DETECTIONS, FAKE_PROBABILITY, FEATURES, FRAMES, LOGITS, faces_spec
from deepfake_triton.errors import ParityError
from deepfake_triton.export.differences import detection_difference
from deepfake_triton.export.parity_limits import LIMITS, ParityLimits, Precision
from deepfake_triton.export.parity_sample import ParitySample
from deepfake_triton.export.runners import Runner

BATCHES = (1, 2, 7)
CLIP_LENGTHS = (1, 5, 20)


@dataclass(frozen=True)
class ParityCase:
    """The largest differences at one batch size and clip length."""

    batch: int
    frames: int
    max_logit_difference: float
    max_probability_difference: float


@dataclass(frozen=True)
class ParityReport:
    """`crops` says what was compared; the limits are the precision's."""

    precision: Precision
    crops: str
    num_crops: int
    logit_spread: float
    cases: tuple[ParityCase, ...]
    detection_difference: float
    detector_batch_difference_px: float

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
        }
        return {**asdict(self), "limits": limits}

    def require_passed(self) -> None:
        """Raise ParityError, naming the worst case, when a limit is exceeded."""
        for name, limit in (
            ("max_logit_difference", self.logit_limit),
            ("max_probability_difference", self.limits.probability),
        ):
            worst = max(self.cases, key=lambda case, name=name: _or_infinity(getattr(case, name)))  # type: ignore[misc]
            value = _or_infinity(getattr(worst, name))
            if value > limit:
                raise ParityError(
                    f"{name} {value:.2e} at batch {worst.batch}, {worst.frames} frames; at most {limit:.2e}: "
                    "the exported graph does not answer as torch does, nothing was written"
                )
        if _or_infinity(self.detection_difference) > self.limits.detection:
            raise ParityError(
                f"the detector's faces differ by {self.detection_difference:.2e} (overlap and score) from "
                f"its FP32 graph's; at most {self.limits.detection:.0e}: nothing was written"
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
    cases, logits = [], []
    for batch in BATCHES:
        for frames in CLIP_LENGTHS:
            faces = _arranged(sample.crops, batch, frames)
            expected = reference.infer({name: faces})
            features = extractor.infer({name: faces})[FEATURES.name]
            got = classifier.infer({FEATURES.name: features})
            logits.append(expected[LOGITS.name])
            cases.append(
                ParityCase(
                    batch,
                    frames,
                    _difference(got[LOGITS.name], expected[LOGITS.name]),
                    _difference(got[FAKE_PROBABILITY.name], expected[FAKE_PROBABILITY.name]),
                )
            )
    spread = float(np.ptp(np.concatenate(logits), axis=0).max())
    return ParityReport(
        precision,
        sample.source,
        len(sample.crops),
        spread,
        tuple(cases),
        detection_difference(reference_detector, [sample.frames])(detector),
        _batch_difference(detector, sample.frames),
    )


def _arranged(crops: npt.NDArray[np.uint8], batch: int, frames: int) -> npt.NDArray[np.uint8]:
    """[B, T, S, S, 3]: clips that start at different crops, so that rows of a batch differ."""
    starts = np.arange(batch)[:, None] * 5
    arranged: npt.NDArray[np.uint8] = crops[(starts + np.arange(frames)[None, :]) % len(crops)]
    return arranged


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

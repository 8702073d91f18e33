"""Proof that the exported graphs answer as torch does, on real face crops."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from deepfake_triton.contracts import DETECTIONS, FAKE_PROBABILITY, FEATURES, FRAMES, LOGITS, faces_spec
from deepfake_triton.errors import ParityError
from deepfake_triton.export.parity_sample import ParitySample
from deepfake_triton.export.runners import Runner

BATCHES = (1, 2, 7)
CLIP_LENGTHS = (1, 5, 20)
MAX_LOGIT_DIFFERENCE = 1e-3
"""Times the spread of the logits over the crops, where that is over 1."""
MAX_PROBABILITY_DIFFERENCE = 5e-4
MAX_DETECTION_DIFFERENCE_PX = 1e-3


@dataclass(frozen=True)
class ParityCase:
    """The largest differences at one batch size and clip length."""

    batch: int
    frames: int
    max_logit_difference: float
    max_probability_difference: float


@dataclass(frozen=True)
class ParityReport:
    """`crops` says what was compared; `passed` is by the limits of this module."""

    crops: str
    num_crops: int
    logit_spread: float
    cases: tuple[ParityCase, ...]
    detector_batch_difference_px: float

    @property
    def logit_limit(self) -> float:
        """What a difference of logits must not exceed."""
        return MAX_LOGIT_DIFFERENCE * max(1.0, self.logit_spread)

    def as_dict(self) -> dict[str, Any]:
        """For `export_report.json`."""
        limits = {
            "logit": self.logit_limit,
            "probability": MAX_PROBABILITY_DIFFERENCE,
            "detector_batch_px": MAX_DETECTION_DIFFERENCE_PX,
        }
        return {**asdict(self), "limits": limits}

    def require_passed(self) -> None:
        """Raise ParityError, naming the worst case, when a limit is exceeded."""
        for name, limit in (
            ("max_logit_difference", self.logit_limit),
            ("max_probability_difference", MAX_PROBABILITY_DIFFERENCE),
        ):
            worst = max(self.cases, key=lambda case, name=name: _or_infinity(getattr(case, name)))  # type: ignore[misc]
            value = _or_infinity(getattr(worst, name))
            if value > limit:
                raise ParityError(
                    f"{name} {value:.2e} at batch {worst.batch}, {worst.frames} frames; at most {limit:.2e}: "
                    "the exported graph does not answer as torch does, nothing was written"
                )
        if _or_infinity(self.detector_batch_difference_px) > MAX_DETECTION_DIFFERENCE_PX:
            raise ParityError(
                f"a batch of frames moves detections by {self.detector_batch_difference_px:.2e} px against "
                f"frame by frame; at most {MAX_DETECTION_DIFFERENCE_PX:.0e}: nothing was written"
            )


def check_parity(
    sample: ParitySample, reference: Runner, extractor: Runner, classifier: Runner, detector: Runner
) -> ParityReport:
    """Compare the whole path from crops to probability, at every batch size and clip length."""
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
    batch_difference = _batch_difference(detector, sample.frames)
    return ParityReport(sample.source, len(sample.crops), spread, tuple(cases), batch_difference)


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

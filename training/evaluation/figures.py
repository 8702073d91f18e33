"""Figures of an evaluation as typed values: metrics with intervals, decisions, pairs, groups, mirroring."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from deepfake_triton.classification_metrics import Interval
from deepfake_triton.json_object import JsonObject


@dataclass(frozen=True)
class Estimate:
    """A metric with its 95 % interval; None where there are too few clips for it."""

    value: float | None = None
    low: float | None = None
    high: float | None = None


def estimate_from(found: Interval) -> Estimate:
    """Round a metric and its interval to 5 digits."""
    return Estimate(rounded(found.value), rounded(found.low), rounded(found.high))


def rounded(value: float) -> float | None:
    """Round a metric to 5 digits; None for NaN."""
    return None if np.isnan(value) else round(float(value), 5)


@dataclass(frozen=True)
class DecisionFigures:
    """Decisions at one operating point, first with the FAKE threshold alone, then with both thresholds.

    The latter are None in evaluations of earlier releases, which had one threshold.
    """

    threshold: float
    accuracy: Estimate
    precision: float | None
    recall: float | None
    f1: float | None
    false_alarms: Estimate
    real_at_most: float | None = None
    uncertain_share: float | None = None
    answered_accuracy: Estimate | None = None
    missed: Estimate | None = None

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> DecisionFigures:
        """Read an entry of `decisions`."""
        values: dict[str, Any] = {
            name: Estimate(**value) if isinstance(value, Mapping) else value for name, value in stored.items()
        }
        return cls(**values)


@dataclass(frozen=True)
class PairFigures:
    """Number of real–fake pairs, and the fraction whose fake scores above its original."""

    pairs: int
    fake_above_original: Estimate

    def to_json(self) -> JsonObject:
        """Return `pairs`; the bounds stand beside the fraction, which earlier releases wrote alone."""
        above = self.fake_above_original
        return {
            "pairs": self.pairs,
            "fake_above_original": above.value,
            "low": above.low,
            "high": above.high,
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> PairFigures:
        """Read `pairs`."""
        bounds = (stored.get("low"), stored.get("high"))
        return cls(stored["pairs"], Estimate(stored["fake_above_original"], *bounds))


@dataclass(frozen=True)
class ChangeFigures:
    """What a condition changes in the probability of real clips, each against the same take without it.

    `mean` is signed; both are None for few clips.
    """

    clips: int
    mean: float | None
    mean_absolute: float | None


@dataclass(frozen=True)
class GroupFigures:
    """Metrics of one group of clips, such as a corruption, a source, a split or a condition.

    `too_few` says why all estimates are None where there are too few clips; `calibration_error` is None where
    none has a probability. `baselines` holds the AUC of each baseline, and `real_change` is None where the
    group is no condition, or has no take without it.
    """

    clips: int
    real: int
    fake: int
    inconclusive_share: float
    too_few: str | None
    auc: Estimate
    average_precision: Estimate
    equal_error_rate: Estimate
    calibration_error: Estimate | None
    decisions: dict[str, DecisionFigures]
    baselines: dict[str, Estimate]
    pairs: PairFigures
    real_change: ChangeFigures | None = None

    def to_json(self) -> JsonObject:
        """Return the JSON of one group."""
        values = {"rivals" if name == "baselines" else name: value for name, value in asdict(self).items()}
        values["pairs"] = self.pairs.to_json()
        for name in ("calibration_error", "real_change"):
            if values[name] is None:
                del values[name]
        return values

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> GroupFigures:
        """Read the JSON of one group."""
        error, change = stored.get("calibration_error"), stored.get("real_change")
        return cls(
            clips=stored["clips"],
            real=stored["real"],
            fake=stored["fake"],
            inconclusive_share=stored["inconclusive_share"],
            too_few=stored.get("too_few"),
            auc=Estimate(**stored["auc"]),
            average_precision=Estimate(**stored["average_precision"]),
            equal_error_rate=Estimate(**stored["equal_error_rate"]),
            calibration_error=Estimate(**error) if error else None,
            decisions={name: DecisionFigures.from_json(v) for name, v in stored["decisions"].items()},
            baselines={name: Estimate(**v) for name, v in stored["rivals"].items()},
            pairs=PairFigures.from_json(stored["pairs"]),
            real_change=ChangeFigures(**change) if change else None,
        )


@dataclass(frozen=True)
class MirrorFigures:
    """What mirroring clips changes: their probability, and the share of `other_verdicts` (by default point).

    `auc_gain` is the AUC of the mean of both probabilities less the mean of the AUCs of either alone.
    """

    clips: int
    mean_change: float
    largest_change: float
    other_verdicts: float
    auc_gain: Estimate

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> MirrorFigures:
        """Read the JSON of `mirroring`."""
        return cls(**{**stored, "auc_gain": Estimate(**stored["auc_gain"])})

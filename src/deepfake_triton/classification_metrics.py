"""Binary classification metrics from scores and labels (1 is fake): pure functions on arrays.

Tests compare them with scikit-learn, which is therefore not needed to install.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from deepfake_triton.operating_point import OperatingPoint

Scores = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]
Metric = Callable[[Scores, Labels], float]

MIN_CLIPS, MIN_PEOPLE = 10, 5
"""Fewest clips and people of each label: metrics of fewer are chance, whatever their interval says."""


@dataclass(frozen=True)
class Interval:
    """A metric with its 95 % interval; NaN where the samples do not define it."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def roc_auc(scores: Scores, labels: Labels) -> float:
    """Return the area under the ROC curve in 0…1, ties counting half; NaN without both labels.

    It is the probability that a fake scores above a real one.
    """
    fakes = int((labels == 1).sum())
    reals = len(labels) - fakes
    if not fakes or not reals:
        return float("nan")
    ranks = _average_ranks(scores)
    return float((ranks[labels == 1].sum() - fakes * (fakes + 1) / 2) / (fakes * reals))


def roc_curve(scores: Scores, labels: Labels) -> tuple[Scores, Scores, Scores]:
    """Return false and true positive rates from (0, 0) to (1, 1), and their thresholds.

    A sample is called fake at or above a threshold.
    """
    order = np.argsort(-scores, kind="stable")
    ordered, hit = scores[order], labels[order] == 1
    last = np.append(np.flatnonzero(np.diff(ordered)), len(ordered) - 1)
    true = np.append(0, np.cumsum(hit)[last]) / max(hit.sum(), 1)
    false = np.append(0, np.cumsum(~hit)[last]) / max((~hit).sum(), 1)
    return false, true, np.append(np.inf, ordered[last])


def average_precision(scores: Scores, labels: Labels) -> float:
    """Return the average precision in 0…1; NaN without a fake.

    It is the precision at each threshold, weighted by the recall that the threshold adds.
    """
    if not (labels == 1).any():
        return float("nan")
    order = np.argsort(-scores, kind="stable")
    ordered, hit = scores[order], labels[order] == 1
    last = np.append(np.flatnonzero(np.diff(ordered)), len(ordered) - 1)
    found = np.cumsum(hit)[last]
    recall = np.append(0, found / hit.sum())
    return float((np.diff(recall) * found / (last + 1)).sum())


def equal_error_rate(scores: Scores, labels: Labels) -> float:
    """Return the equal error rate (EER) in 0…1; NaN without both labels.

    It is the rate at which false alarms and misses are equal, interpolated between thresholds.
    """
    if len(np.unique(labels)) < 2:
        return float("nan")
    false, true, _ = roc_curve(scores, labels)
    gap = false - (1 - true)
    after = int(np.argmax(gap >= 0))
    before = max(after - 1, 0)
    step = gap[after] - gap[before]
    weight = -gap[before] / step if step else 0.0
    return float(false[before] + weight * (false[after] - false[before]))


def expected_calibration_error(probabilities: Scores, labels: Labels, bins: int = 10) -> float:
    """Return the expected calibration error (ECE) in 0…1, over `bins` of equal width.

    It is the mean distance of the fraction of fakes from the mean probability [N] in 0…1.
    """
    members = np.minimum((probabilities * bins).astype(int), bins - 1)
    gaps = [
        (members == index).sum()
        * abs(probabilities[members == index].mean() - labels[members == index].mean())
        for index in np.unique(members)
    ]
    return float(sum(gaps) / len(labels))


def sample_shortfall(labels: Labels, people: npt.NDArray[np.int64]) -> str | None:
    """Describe why samples are too few for metrics with intervals; None when they are enough."""
    reals, fakes = (int((labels == label).sum()) for label in (0, 1))
    fewest_people = min(len(np.unique(people[labels == label])) for label in (0, 1))
    if min(fakes, reals) >= MIN_CLIPS and fewest_people >= MIN_PEOPLE:
        return None
    return (
        f"{reals} real and {fakes} fake clips of {len(np.unique(people))} people; figures need {MIN_CLIPS} "
        f"of either, of {MIN_PEOPLE} people"
    )


@dataclass(frozen=True)
class Decisions:
    """Metrics of decisions at one threshold; NaN where a rate has no samples."""

    threshold: float
    accuracy: float
    precision: float
    recall: float
    f1: float
    false_alarms: float


def decisions_at(scores: Scores, labels: Labels, threshold: float) -> Decisions:
    """Compute the metrics of calling FAKE at or above the threshold, and REAL below it."""
    called, fake = scores >= threshold, labels == 1
    hits = float((called & fake).sum())
    precision = hits / called.sum() if called.any() else float("nan")
    recall = hits / fake.sum() if fake.any() else float("nan")
    f1 = 2 * hits / (called.sum() + fake.sum()) if called.any() or fake.any() else float("nan")
    alarms = float((called & ~fake).sum() / (~fake).sum()) if (~fake).any() else float("nan")
    return Decisions(threshold, float((called == fake).mean()), float(precision), float(recall), f1, alarms)


@dataclass(frozen=True)
class SelectiveDecisions:
    """Metrics of decisions with a reject option (two thresholds); NaN where a rate has no samples.

    `uncertain_share` is the fraction of all samples that is rejected, `answered_accuracy` the accuracy of the
    others, and `missed` the fraction of all fakes that is called REAL.
    """

    uncertain_share: float
    answered_accuracy: float
    missed: float


def selective_decisions_at(scores: Scores, labels: Labels, point: OperatingPoint) -> SelectiveDecisions:
    """Compute the metrics of an operating point; NaN scores have no decision, and are not uncertain."""
    fake, called = labels == 1, scores >= point.fake_at_least
    uncertain = (scores > point.real_at_most) & ~called
    answered = ~np.isnan(scores) & ~uncertain
    accuracy = float((called == fake)[answered].mean()) if answered.any() else float("nan")
    missed = float((answered & ~called & fake).sum() / fake.sum()) if fake.any() else float("nan")
    return SelectiveDecisions(float(uncertain.mean()), accuracy, missed)


def _average_ranks(values: Scores) -> Scores:
    """Rank values [N] from 1; ties get the mean of their ranks."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    mean: Scores = (2 * ends - counts + 1) / 2
    return mean[inverse]

"""Figures of a detector from scores and labels: pure functions on arrays, 1 is fake."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Scores = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Interval:
    """A figure with its 95 % bootstrap interval; NaN where the samples do not define it."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def roc_auc(scores: Scores, labels: Labels) -> float:
    """The chance that a fake scores above a real one, ties counting half; NaN without both labels."""
    fakes = int((labels == 1).sum())
    reals = len(labels) - fakes
    if not fakes or not reals:
        return float("nan")
    ranks = _average_ranks(scores)
    return float((ranks[labels == 1].sum() - fakes * (fakes + 1) / 2) / (fakes * reals))


def roc_curve(scores: Scores, labels: Labels) -> tuple[Scores, Scores, Scores]:
    """False and true positive rates, from (0, 0) to (1, 1), and the thresholds (at or above is fake)."""
    order = np.argsort(-scores, kind="stable")
    ordered, hit = scores[order], labels[order] == 1
    last = np.append(np.flatnonzero(np.diff(ordered)), len(ordered) - 1)
    true = np.append(0, np.cumsum(hit)[last]) / max(hit.sum(), 1)
    false = np.append(0, np.cumsum(~hit)[last]) / max((~hit).sum(), 1)
    return false, true, np.append(np.inf, ordered[last])


def average_precision(scores: Scores, labels: Labels) -> float:
    """The mean of the precision over the recall that each threshold adds; NaN without a fake."""
    if not (labels == 1).any():
        return float("nan")
    order = np.argsort(-scores, kind="stable")
    ordered, hit = scores[order], labels[order] == 1
    last = np.append(np.flatnonzero(np.diff(ordered)), len(ordered) - 1)
    found = np.cumsum(hit)[last]
    recall = np.append(0, found / hit.sum())
    return float((np.diff(recall) * found / (last + 1)).sum())


def equal_error_rate(scores: Scores, labels: Labels) -> float:
    """Where false alarms and misses are equally frequent, between thresholds linearly; NaN without both."""
    if len(np.unique(labels)) < 2:
        return float("nan")
    false, true, _ = roc_curve(scores, labels)
    gap = false - (1 - true)
    after = int(np.argmax(gap >= 0))
    before = max(after - 1, 0)
    step = gap[after] - gap[before]
    share = -gap[before] / step if step else 0.0
    return float(false[before] + share * (false[after] - false[before]))


def expected_calibration_error(probabilities: Scores, labels: Labels, bins: int = 10) -> float:
    """Mean distance of the share of fakes from the mean probability, in `bins` of equal width over 0…1."""
    members = np.minimum((probabilities * bins).astype(int), bins - 1)
    gaps = [
        (members == each).sum() * abs(probabilities[members == each].mean() - labels[members == each].mean())
        for each in np.unique(members)
    ]
    return float(sum(gaps) / len(labels))


@dataclass(frozen=True)
class Decisions:
    """How verdicts at one threshold agree with the labels; NaN where nothing was called or there is none."""

    threshold: float
    accuracy: float
    precision: float
    recall: float
    f1: float
    false_alarms: float


def decisions_at(scores: Scores, labels: Labels, threshold: float) -> Decisions:
    """FAKE at or above the threshold."""
    called, fake = scores >= threshold, labels == 1
    hits = float((called & fake).sum())
    precision = hits / called.sum() if called.any() else float("nan")
    recall = hits / fake.sum() if fake.any() else float("nan")
    f1 = 2 * hits / (called.sum() + fake.sum()) if called.any() or fake.any() else float("nan")
    alarms = float((called & ~fake).sum() / (~fake).sum()) if (~fake).any() else float("nan")
    return Decisions(threshold, float((called == fake).mean()), float(precision), float(recall), f1, alarms)


def bootstrap(
    figure: Callable[[Scores, Labels], float],
    scores: Scores,
    labels: Labels,
    groups: npt.NDArray[np.int64] | None = None,
    rounds: int = 1000,
    seed: int = 0,
) -> Interval:
    """A figure with its 95 % interval, whole `groups` (one number a sample: the person) drawn together.

    Clips of one person are not independent: drawn singly they would make the interval too narrow.
    """
    groups = np.arange(len(labels)) if groups is None else groups
    names = np.unique(groups)
    members = {int(name): np.flatnonzero(groups == name) for name in names}
    rng = np.random.default_rng(seed)
    values = []
    for _ in range(rounds):
        drawn = np.concatenate([members[int(name)] for name in rng.choice(names, len(names))])
        values.append(figure(scores[drawn], labels[drawn]))
    known = np.array(values)[~np.isnan(values)]
    low, high = np.quantile(known, [0.025, 0.975]) if len(known) else (float("nan"), float("nan"))
    return Interval(figure(scores, labels), float(low), float(high))


def _average_ranks(values: Scores) -> Scores:
    """Ranks from 1; equal values share the mean of theirs."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    mean: Scores = (2 * ends - counts + 1) / 2
    return mean[inverse]

"""95 % intervals by person that stay honest for few samples: a bootstrap, widened to a score interval.

A bootstrap can only draw what it has: without an error among the samples it would be certain of none. A score
interval asks which true values would make the measured one likely, and is never empty.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

from deepfake_triton.classification_metrics import Interval, Labels, Metric, Scores

INTERVALS_TEXT = "95 %, bootstrap over people, widened to a score interval of as many samples as people"
_Z = 1.959964
_BISECTIONS = 50
People = npt.NDArray[np.int64]
Samples = npt.NDArray[np.int64]
ScoreBounds = Callable[[float, int, int], tuple[float, float]]


def share_score_interval(share: float, people: int) -> tuple[float, float]:
    """Return the 95 % score interval of a share in 0…1 measured on `people` independent samples.

    Wilson, *Probable inference, the law of succession, and statistical inference*, 1927.
    """
    spread = _Z**2 / people
    center = (share + spread / 2) / (1 + spread)
    half = _Z / (1 + spread) * (share * (1 - share) / people + spread / (4 * people)) ** 0.5
    return max(center - half, 0.0), min(center + half, 1.0)


def auc_score_interval(auc: float, reals: int, fakes: int) -> tuple[float, float]:
    """Return the 95 % score interval of an AUC measured on independent samples of both labels.

    Newcombe, *Confidence intervals for an effect size measure based on the Mann–Whitney statistic*, 2006,
    method 5: the variance of Hanley and McNeil at the bound, not at the measured value, where it may be 0.
    """
    others = (reals + fakes) / 2 - 1

    def error(true: float) -> float:
        terms = 1 + others * ((1 - true) / (2 - true) + true / (1 + true))
        return _Z * float((true * (1 - true) * terms / (reals * fakes)) ** 0.5)

    return (
        _bisect(lambda true: auc - true > error(true), 0.0, auc),
        _bisect(lambda true: true - auc > error(true), 1.0, auc),
    )


def rarer_label_interval(value: float, reals: int, fakes: int) -> tuple[float, float]:
    """Return the score interval of a share measured on the people of the rarer label.

    It stands in for average precision, equal error rate and calibration error, which have none of their own.
    """
    return share_score_interval(value, min(reals, fakes) or max(reals, fakes))


def share_interval(
    hits: npt.NDArray[np.bool_] | Scores, people: People, *, rounds: int, seed: int = 0
) -> Interval:
    """Return the share of `hits` [N] with its 95 % interval; `people` [N] are those of the samples.

    A hit of 0.5 counts half. All values are NaN without a sample.
    """
    if not len(hits):
        return Interval(float("nan"), float("nan"), float("nan"))
    _, inverse = np.unique(people, return_inverse=True)
    sums, counts = np.bincount(inverse, hits), np.bincount(inverse)
    drawn = np.random.default_rng(seed).integers(len(counts), size=(rounds, len(counts)))
    shares = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    share = float(hits.mean())
    return _hull(share, shares, share_score_interval(share, len(counts)))


def metric_interval(
    metric: Metric,
    scores: Scores,
    labels: Labels,
    *,
    people: People,
    rounds: int,
    bounds: ScoreBounds,
    seed: int = 0,
) -> Interval:
    """Return a metric in 0…1 with its 95 % interval; `people` [N] are those of the samples.

    `bounds` returns the score interval of a value measured on so many people with real and with fake samples.
    All values are NaN where the samples do not define the metric.
    """
    value = metric(scores, labels)
    if np.isnan(value):
        return Interval(value, value, value)
    values = [
        metric(scores[drawn], labels[drawn])
        for drawn in _people_rounds(labels, people, rounds=rounds, seed=seed)
    ]
    reals, fakes = (len(np.unique(people[labels == label])) for label in (0, 1))
    return _hull(value, np.array(values), bounds(value, reals, fakes))


def paired_difference_interval(
    difference: Callable[[Samples], float], labels: Labels, people: People, *, rounds: int, seed: int = 0
) -> Interval:
    """Return a difference of two metrics of the same samples, with the 95 % interval of the bootstrap alone.

    `difference` computes it from the samples [M] that a round has drawn, by number, for both metrics alike.
    The bounds are NaN where no round differs from another: that is no certainty.
    """
    value = difference(np.arange(len(labels)))
    drawn = [difference(round_) for round_ in _people_rounds(labels, people, rounds=rounds, seed=seed)]
    low, high = (float(bound) for bound in np.quantile(drawn, [0.025, 0.975]))
    if low == high:
        low = high = float("nan")
    return Interval(value, low, high)


def _people_rounds(labels: Labels, people: People, *, rounds: int, seed: int) -> Iterator[Samples]:
    """Yield the samples of each round of a bootstrap over people, by number.

    People are drawn among those with clips of the same labels, so that both labels are in every round.
    """
    members = {int(person): np.flatnonzero(people == person) for person in np.unique(people)}
    strata: dict[tuple[int, ...], list[int]] = {}
    for person, samples in members.items():
        strata.setdefault(tuple(np.unique(labels[samples]).tolist()), []).append(person)
    rng = np.random.default_rng(seed)
    for _ in range(rounds):
        chosen = [person for names in strata.values() for person in rng.choice(names, len(names))]
        yield np.concatenate([members[int(person)] for person in chosen])


def _hull(value: float, drawn: npt.NDArray[np.float64], bounds: tuple[float, float]) -> Interval:
    """Return the smallest interval around the bootstrap's and the score interval."""
    known = drawn[~np.isnan(drawn)]
    low, high = np.quantile(known, [0.025, 0.975]) if len(known) else bounds
    return Interval(value, min(float(low), bounds[0]), max(float(high), bounds[1]))


def _bisect(is_outside: Callable[[float], bool], outside: float, inside: float) -> float:
    """Return the bound between a value outside an interval and one inside."""
    for _ in range(_BISECTIONS):
        middle = (outside + inside) / 2
        outside, inside = (middle, inside) if is_outside(middle) else (outside, middle)
    return (outside + inside) / 2

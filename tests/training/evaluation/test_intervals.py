"""Intervals by person: coverage of known true values, and no certainty from few samples."""

from __future__ import annotations

from functools import partial
from math import erf

import numpy as np
import pytest

from deepfake_triton.classification_metrics import (
    Metric,
    average_precision,
    equal_error_rate,
    expected_calibration_error,
    roc_auc,
)
from deepfake_triton.training.evaluation.intervals import (
    auc_score_interval,
    metric_interval,
    paired_difference_interval,
    rarer_label_interval,
    share_interval,
    share_score_interval,
)

auc_interval = partial(metric_interval, roc_auc, bounds=auc_score_interval)


@pytest.mark.fast
def test_score_intervals_of_published_examples() -> None:
    # Newcombe, Two-sided confidence intervals for the single proportion, 1998, table I: 81 of 263, 0 of 20.
    assert share_score_interval(81 / 263, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert share_score_interval(0, 20) == pytest.approx((0, 0.1611), abs=1e-4)
    low, high = auc_score_interval(1.0, 10, 10)
    assert high == 1 and 0.6 < low < 0.9
    assert auc_score_interval(0.0, 10, 10) == pytest.approx((0, 1 - low))
    # With many samples, it is Hanley and McNeil's variance at the measured value.
    low, high = auc_score_interval(0.8, 5000, 5000)
    q1, q2 = 0.8 / 1.2, 2 * 0.64 / 1.8
    error = ((0.16 + 4999 * (q1 - 0.64) + 4999 * (q2 - 0.64)) / 5000**2) ** 0.5
    assert (low, high) == pytest.approx((0.8 - 1.96 * error, 0.8 + 1.96 * error), abs=5e-4)


@pytest.mark.fast
@pytest.mark.parametrize("metric", [roc_auc, average_precision, equal_error_rate, expected_calibration_error])
def test_two_samples_are_never_certain(metric: Metric) -> None:
    for scores in ([0.0, 1.0], [1.0, 0.0], [0.5, 0.5]):
        found = metric_interval(
            metric,
            np.array(scores),
            np.array([0, 1]),
            people=np.arange(2),
            rounds=100,
            bounds=auc_score_interval if metric is roc_auc else rarer_label_interval,
        )
        assert found.low <= found.value <= found.high and found.high - found.low > 0.5
    for hits in ([True, True], [False, False]):
        share = share_interval(np.array(hits), np.arange(2), rounds=100)
        assert share.high - share.low > 0.5 and share.low <= share.value <= share.high


@pytest.mark.fast
def test_clips_of_one_person_count_as_one_sample() -> None:
    hits = np.ones(100, np.bool_)
    alone = share_interval(hits, np.arange(100), rounds=10)
    together = share_interval(hits, np.repeat(np.arange(4), 25), rounds=10)
    assert (alone.low, together.low) == pytest.approx((share_score_interval(1, 100)[0], 0.5101), abs=1e-4)
    # Where people differ, the bootstrap over them is the wider one.
    people = np.repeat(np.arange(40), 25)
    mixed = share_interval(people % 2 == 0, people, rounds=500)
    assert mixed.high - mixed.low > 0.25


@pytest.mark.fast
def test_the_interval_is_wider_when_clips_share_a_person() -> None:
    rng = np.random.default_rng(1)
    people = np.repeat(np.arange(20), 10)
    labels = np.tile([0, 1], 100)
    scores = labels + rng.normal(0, 1, 20)[people] * np.where(labels == 1, 1, -1) + rng.normal(0, 0.3, 200)
    single = auc_interval(scores, labels, people=np.arange(200), rounds=300)
    grouped = auc_interval(scores, labels, people=people, rounds=300)
    assert grouped.low <= grouped.value <= grouped.high
    assert grouped.high - grouped.low > 1.5 * (single.high - single.low)


@pytest.mark.fast
def test_what_is_undefined_has_no_interval() -> None:
    found = metric_interval(
        roc_auc, np.ones(3), np.ones(3, int), people=np.arange(3), rounds=10, bounds=auc_score_interval
    )
    assert np.isnan([found.value, found.low, found.high]).all()
    share = share_interval(np.zeros(0, np.bool_), np.zeros(0, int), rounds=10)
    assert np.isnan([share.value, share.low, share.high]).all()


def paired_clips(
    rng: np.random.Generator, people: int, *, gap: float, offset: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two real and two fake clips of each person, whose scores share an offset; the gap is in deviations."""
    labels = np.tile([0, 0, 1, 1], people)
    who = np.repeat(np.arange(people), 4)
    own = rng.normal(0, offset, people)[who] + rng.normal(0, (1 - offset**2) ** 0.5, len(who))
    return own + gap * labels, labels, who


@pytest.mark.compute
@pytest.mark.parametrize("gap", [1.2, 2.5])
@pytest.mark.parametrize("offset", [0.0, 0.8])
def test_small_sets_cover_the_true_auc(gap: float, offset: float) -> None:
    true = 0.5 * (1 + erf(gap / 2))  # of people who are not the same: Φ(gap / √2)
    rng = np.random.default_rng(7)
    covered, certain, sets = 0, 0, 300
    for _ in range(sets):
        scores, labels, people = paired_clips(rng, 10, gap=gap, offset=offset)
        found = auc_interval(scores, labels, people=people, rounds=60)
        covered += found.low <= true <= found.high
        certain += found.high - found.low < 0.05
    assert covered >= 0.9 * sets and certain == 0


@pytest.mark.compute
@pytest.mark.parametrize("gap", [1.2, 2.5])
@pytest.mark.parametrize("metric", [average_precision, equal_error_rate])
def test_small_sets_cover_the_true_rates(metric: Metric, gap: float) -> None:
    rng = np.random.default_rng(9)
    many, labels, _ = paired_clips(rng, 50_000, gap=gap, offset=0.0)
    true = metric(many, labels)
    covered, sets = 0, 120
    for _ in range(sets):
        scores, labels, people = paired_clips(rng, 10, gap=gap, offset=0.8)
        found = metric_interval(metric, scores, labels, people=people, rounds=60, bounds=rarer_label_interval)
        covered += found.low <= true <= found.high
    assert covered >= 0.9 * sets


@pytest.mark.fast
def test_a_paired_difference_is_drawn_for_both_alike_and_never_certain() -> None:
    rng = np.random.default_rng(3)
    scores, labels, people = paired_clips(rng, 40, gap=1.0, offset=0.5)
    noisy = scores + rng.normal(0, 2, len(scores))

    def gain(drawn: np.ndarray) -> float:
        return roc_auc(scores[drawn], labels[drawn]) - roc_auc(noisy[drawn], labels[drawn])

    found = paired_difference_interval(gain, labels, people, rounds=300)
    assert 0 < found.low < found.value < found.high < 0.4
    same = paired_difference_interval(lambda _: 0.0, labels, people, rounds=20)
    assert same.value == 0 and np.isnan([same.low, same.high]).all()
    # Both labels are in every round, although no person has both.
    alone = np.arange(4)
    both = paired_difference_interval(
        lambda drawn: float(len(set(alone[drawn] % 2))), alone % 2, alone, rounds=50
    )
    assert both.value == 2 and np.isnan(both.low)


@pytest.mark.compute
@pytest.mark.parametrize("true", [0.02, 0.3])
def test_small_sets_cover_the_true_share(true: float) -> None:
    rng = np.random.default_rng(8)
    covered, sets = 0, 300
    people = np.repeat(np.arange(15), 3)
    for _ in range(sets):
        hits = np.repeat(rng.uniform(size=15) < true, 3)  # all clips of a person alike: the hardest case
        found = share_interval(hits, people, rounds=100)
        covered += found.low <= true <= found.high
    assert covered >= 0.9 * sets

"""Classification metrics against scikit-learn, their definitions and known answers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import calibration, metrics

from deepfake_triton.classification_metrics import (
    average_precision,
    decisions_at,
    equal_error_rate,
    expected_calibration_error,
    roc_auc,
    roc_curve,
    sample_shortfall,
    selective_decisions_at,
)
from deepfake_triton.operating_point import OperatingPoint

pytestmark = pytest.mark.fast

LABELED = st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=2, max_size=40).filter(
    lambda pairs: len({label for _, label in pairs}) == 2
)


def arrays(pairs: list[tuple[int, bool]]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([s for s, _ in pairs], np.float64), np.array([int(y) for _, y in pairs])


@settings(max_examples=40, deadline=None)
@given(LABELED)
def test_ranking_metrics_equal_scikit_learn_s(pairs: list) -> None:
    scores, labels = arrays(pairs)
    assert roc_auc(scores, labels) == pytest.approx(metrics.roc_auc_score(labels, scores))
    assert average_precision(scores, labels) == pytest.approx(metrics.average_precision_score(labels, scores))
    false, true, thresholds = metrics.roc_curve(labels, scores, drop_intermediate=False)
    for ours, theirs in zip(roc_curve(scores, labels), (false, true, thresholds), strict=True):
        np.testing.assert_allclose(ours, theirs)
    crossing = np.interp(0, false - (1 - true), false)
    assert equal_error_rate(scores, labels) == pytest.approx(crossing)


@settings(max_examples=40, deadline=None)
@given(LABELED, st.integers(0, 7))
def test_decisions_equal_scikit_learn_s(pairs: list, threshold: int) -> None:
    scores, labels = arrays(pairs)
    found, called = decisions_at(scores, labels, threshold), scores >= threshold
    expected = (
        metrics.accuracy_score(labels, called),
        metrics.precision_score(labels, called, zero_division=np.nan),
        metrics.recall_score(labels, called, zero_division=np.nan),
        metrics.f1_score(labels, called, zero_division=np.nan),
        1 - metrics.recall_score(labels, called, pos_label=0, zero_division=np.nan),
    )
    assert (found.accuracy, found.precision, found.recall, found.f1, found.false_alarms) == pytest.approx(
        expected, nan_ok=True
    )


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 999), st.booleans()), min_size=1, max_size=60))
def test_calibration_error_equals_that_of_scikit_learn_s_curve(pairs: list) -> None:
    probabilities, labels = arrays(pairs)
    probabilities = (probabilities + 0.5) / 1000  # never on the edge of a bin
    fakes, said = calibration.calibration_curve(labels, probabilities, n_bins=10)
    counts = np.histogram(probabilities, np.linspace(0, 1, 11))[0]
    expected = (counts[counts > 0] * np.abs(fakes - said)).sum() / len(labels)
    assert expected_calibration_error(probabilities, labels) == pytest.approx(expected)


@given(LABELED)
def test_auc_is_the_share_of_pairs_in_order_and_the_area_under_the_curve(pairs: list) -> None:
    scores, labels = arrays(pairs)
    fakes, reals = scores[labels == 1], scores[labels == 0]
    order = np.sign(fakes[:, None] - reals[None, :])
    assert roc_auc(scores, labels) == pytest.approx((0.5 + 0.5 * order).mean())
    false, true, _ = roc_curve(scores, labels)
    area = (np.diff(false) * (true[1:] + true[:-1]) / 2).sum()
    assert roc_auc(scores, labels) == pytest.approx(area)


@given(LABELED)
def test_each_point_of_the_curve_is_what_its_threshold_decides(pairs: list) -> None:
    scores, labels = arrays(pairs)
    for false, true, threshold in zip(*roc_curve(scores, labels), strict=True):
        decided = decisions_at(scores, labels, threshold)
        assert (decided.false_alarms, decided.recall) == pytest.approx((false, true))


def test_average_precision_of_known_orders() -> None:
    labels = np.array([1, 0, 1, 0])
    assert average_precision(np.array([4.0, 3, 2, 1]), labels) == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    assert average_precision(np.ones(4), labels) == pytest.approx(0.5)


def test_equal_error_rate_of_known_orders() -> None:
    labels = np.array([0, 0, 1, 1])
    assert equal_error_rate(np.array([1.0, 2, 3, 4]), labels) == pytest.approx(0)
    assert equal_error_rate(np.array([4.0, 3, 2, 1]), labels) == pytest.approx(1)
    assert equal_error_rate(np.array([1.0, 3, 2, 4]), labels) == pytest.approx(0.5)
    assert equal_error_rate(np.ones(4), labels) == pytest.approx(0.5)


def test_calibration_error_is_the_gap_between_what_is_said_and_what_is() -> None:
    rng = np.random.default_rng(0)
    said = rng.uniform(0, 1, 20_000)
    labels = (rng.uniform(0, 1, 20_000) < said).astype(int)
    assert expected_calibration_error(said, labels) < 0.02
    assert expected_calibration_error(np.full(1000, 0.9), np.repeat([0, 1], 500)) == pytest.approx(0.4)


def test_one_label_alone_gives_no_auc() -> None:
    assert np.isnan(roc_auc(np.arange(3.0), np.ones(3, int)))
    assert np.isnan(equal_error_rate(np.arange(3.0), np.ones(3, int)))


def test_between_two_thresholds_nothing_is_decided() -> None:
    scores = np.array([0.1, 0.3, 0.6, np.nan, 0.2, 0.4, 0.7, 0.9])
    labels = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    found = selective_decisions_at(scores, labels, OperatingPoint("p", 0.25, 0.5))
    assert found.uncertain_share == 2 / 8  # 0.3 and 0.4
    assert found.answered_accuracy == 3 / 5  # 0.6 and 0.2 are wrong
    assert found.missed == 1 / 4
    one = selective_decisions_at(scores[labels >= 0], labels, OperatingPoint("p", 0.5, 0.5))
    assert one.uncertain_share == 0
    assert np.isnan(
        selective_decisions_at(
            np.full(4, np.nan), np.ones(4, int), OperatingPoint("p", 0, 1)
        ).answered_accuracy
    )


@pytest.mark.parametrize(
    ("reals", "fakes", "people", "enough"),
    [(10, 10, 5, True), (9, 10, 9, False), (1, 1, 2, False), (50, 50, 4, False)],
)
def test_metrics_need_clips_of_both_labels_and_people(
    *, reals: int, fakes: int, people: int, enough: bool
) -> None:
    labels = np.repeat([0, 1], [reals, fakes])
    said = sample_shortfall(labels, np.arange(len(labels)) % people)
    assert (said is None) == enough
    if said:
        assert said.startswith(f"{reals} real and {fakes} fake clips of {people} people")


def test_metrics_need_people_of_both_labels() -> None:
    labels = np.repeat([0, 1], [50, 50])
    people = np.concatenate([np.arange(50), np.arange(50) % 4])
    assert sample_shortfall(labels, people) and not sample_shortfall(labels, np.arange(100))

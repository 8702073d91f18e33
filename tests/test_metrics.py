"""Figures of a detector, against their definitions and known answers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepfake_triton.metrics import (
    average_precision,
    bootstrap,
    decisions_at,
    equal_error_rate,
    expected_calibration_error,
    roc_auc,
    roc_curve,
)

LABELLED = st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=2, max_size=40).filter(
    lambda pairs: len({label for _, label in pairs}) == 2
)


def arrays(pairs: list[tuple[int, bool]]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([s for s, _ in pairs], np.float64), np.array([int(y) for _, y in pairs])


@given(LABELLED)
def test_auc_is_the_share_of_pairs_in_order_and_the_area_under_the_curve(pairs: list) -> None:
    scores, labels = arrays(pairs)
    fakes, reals = scores[labels == 1], scores[labels == 0]
    order = np.sign(fakes[:, None] - reals[None, :])
    assert roc_auc(scores, labels) == pytest.approx((0.5 + 0.5 * order).mean())
    false, true, _ = roc_curve(scores, labels)
    area = (np.diff(false) * (true[1:] + true[:-1]) / 2).sum()
    assert roc_auc(scores, labels) == pytest.approx(area)


@given(LABELLED)
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


def test_the_interval_holds_the_value_and_is_wider_when_clips_share_a_person() -> None:
    rng = np.random.default_rng(1)
    people = np.repeat(np.arange(20), 10)
    labels = np.tile([0, 1], 100)
    scores = labels + rng.normal(0, 1, 20)[people] * np.where(labels == 1, 1, -1) + rng.normal(0, 0.3, 200)
    single = bootstrap(roc_auc, scores, labels, rounds=300)
    grouped = bootstrap(roc_auc, scores, labels, people, rounds=300)
    assert grouped.low <= grouped.value <= grouped.high
    assert grouped.high - grouped.low > 1.5 * (single.high - single.low)

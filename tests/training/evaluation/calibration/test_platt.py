"""Probability calibration (Platt) and thresholds from margins."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from deepfake_triton.classification_metrics import expected_calibration_error
from deepfake_triton.errors import DatasetError
from deepfake_triton.training.evaluation.calibration.platt import (
    fit_operating_points,
    fit_platt,
    fit_real_thresholds,
    probabilities_from_margins,
)

pytestmark = pytest.mark.fast


@pytest.mark.parametrize(("scale", "shift"), [(1.0, 0.0), (0.2, -1.0), (7.0, 2.0)])
def test_the_law_behind_the_labels_is_found(scale: float, shift: float) -> None:
    rng = np.random.default_rng(3)
    margins = rng.normal(0, 2, 30_000) / scale
    labels = (rng.uniform(size=30_000) < probabilities_from_margins(margins, scale, shift)).astype(int)
    found = fit_platt(margins, labels)
    assert found == pytest.approx((scale, shift), rel=0.06, abs=0.06)
    assert expected_calibration_error(probabilities_from_margins(margins, *found), labels) < 0.02


@pytest.mark.parametrize("seed", range(5))
def test_the_fit_equals_logistic_regression_on_smoothed_labels(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, 80)
    margins = rng.normal(labels, 1.5) * 3
    fakes, reals = labels.sum(), (1 - labels).sum()
    target = np.where(labels == 1, (fakes + 1) / (fakes + 2), 1 / (reals + 2))
    reference = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(
        np.tile(margins, 2)[:, None],
        np.repeat([1, 0], len(labels)),
        sample_weight=np.concatenate([target, 1 - target]),
    )
    expected = (reference.coef_[0, 0], reference.intercept_[0])
    assert fit_platt(margins, labels) == pytest.approx(expected, rel=1e-4, abs=1e-5)


def test_separable_margins_stay_finite() -> None:
    scale, shift = fit_platt(np.array([-2.0, -1, 1, 2]), np.array([0, 0, 1, 1]))
    assert 0 < scale < 100 and abs(shift) < 10


def test_both_labels_are_needed() -> None:
    with pytest.raises(DatasetError, match="4 real and 0 fake"):
        fit_platt(np.arange(4.0), np.zeros(4, int))


def test_conservative_calls_one_real_clip_in_two_hundred() -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], 5000)
    probabilities = np.clip(rng.beta(2, 4, 10_000) + 0.35 * labels, 0, 1)
    points = fit_operating_points(probabilities, labels)
    assert points["balanced"] == 0.5 < points["conservative"]
    assert (probabilities[labels == 0] >= points["conservative"]).mean() == pytest.approx(0.005, abs=0.001)


def test_at_most_fifteen_fakes_in_a_hundred_are_called_real() -> None:
    rng = np.random.default_rng(1)
    labels = np.repeat([0, 1], [50, 1000])
    probabilities = rng.uniform(size=1050)
    borders = fit_real_thresholds(probabilities, labels, {"balanced": 0.5, "lenient": 0.05})
    fakes = probabilities[labels == 1]
    assert 0.145 <= (fakes <= borders["balanced"]).mean() <= 0.15
    assert borders["lenient"] == 0.05, "a border for REAL never lies above that for FAKE"


def test_separable_clips_leave_no_uncertain_range_below_the_border_for_fake() -> None:
    probabilities, labels = np.array([0.01, 0.02, 0.98, 0.99]), np.array([0, 0, 1, 1])
    assert fit_real_thresholds(probabilities, labels, {"balanced": 0.5}) == {"balanced": 0.5}

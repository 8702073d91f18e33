"""Probabilities and thresholds from margins."""

from __future__ import annotations

import numpy as np
import pytest

from deepfake_triton.errors import DatasetError
from deepfake_triton.metrics import expected_calibration_error
from deepfake_triton.training.calibration import fit_platt, operating_points, probabilities_of


@pytest.mark.parametrize(("scale", "shift"), [(1.0, 0.0), (0.2, -1.0), (7.0, 2.0)])
def test_the_law_behind_the_labels_is_found(scale: float, shift: float) -> None:
    rng = np.random.default_rng(3)
    margins = rng.normal(0, 2, 30_000) / scale
    labels = (rng.uniform(size=30_000) < probabilities_of(margins, scale, shift)).astype(int)
    found = fit_platt(margins, labels)
    assert found == pytest.approx((scale, shift), rel=0.06, abs=0.06)
    assert expected_calibration_error(probabilities_of(margins, *found), labels) < 0.02


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
    points = operating_points(probabilities, labels)
    assert points["balanced"] == 0.5 < points["conservative"]
    assert (probabilities[labels == 0] >= points["conservative"]).mean() == pytest.approx(0.005, abs=0.001)

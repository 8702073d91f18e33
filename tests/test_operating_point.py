"""The two thresholds of an operating point, and the default one."""

from __future__ import annotations

import pytest

from deepfake_triton.operating_point import OperatingPoint, default_operating_point, points_from_thresholds

pytestmark = pytest.mark.fast


def test_every_probability_is_fake_real_or_uncertain() -> None:
    point = OperatingPoint("balanced", 0.25, 0.5)
    found = [point.verdict_on(p) for p in (0.0, 0.25, 0.26, 0.49, 0.5, 1.0)]
    assert found == ["REAL", "REAL", "uncertain", "uncertain", "FAKE", "FAKE"]


def test_with_equal_thresholds_nothing_is_uncertain() -> None:
    (point,) = points_from_thresholds({"default": 0.5}, {})
    assert point == OperatingPoint("default", 0.5, 0.5)
    assert [(point.is_fake(p), point.is_uncertain(p)) for p in (0.49, 0.5)] == [(False, False), (True, False)]
    assert str(point) == "default: REAL < 0.5, FAKE ≥ 0.5"


def test_a_point_gets_its_own_threshold_for_real() -> None:
    points = points_from_thresholds({"balanced": 0.5, "strict": 0.974}, {"strict": 0.2701})
    assert [str(point) for point in points] == [
        "balanced: REAL < 0.5, FAKE ≥ 0.5",
        "strict: REAL ≤ 0.27, FAKE ≥ 0.974",
    ]


@pytest.mark.parametrize(
    ("thresholds", "name", "fake_at_least"),
    [
        ({"strict": 0.9, "default": 0.4}, "default", 0.4),
        ({"strict": 0.9, "default": 0.4, "balanced": 0.6}, "balanced", 0.6),
        ({"strict": 0.9}, "default", 0.5),
        ({}, "default", 0.5),
    ],
)
def test_the_default_is_balanced_then_default_then_a_half(
    thresholds: dict[str, float], name: str, fake_at_least: float
) -> None:
    point = default_operating_point(points_from_thresholds(thresholds, {}))
    assert (point.name, point.fake_at_least) == (name, fake_at_least)

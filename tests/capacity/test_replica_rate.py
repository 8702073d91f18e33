from __future__ import annotations

import pytest
from capacity_figures import closed, figures, steady

from deepfake_triton.capacity.replica_rate import Bound, replica_rate
from deepfake_triton.errors import InvalidBenchmark, InvalidOption

pytestmark = pytest.mark.fast

LONE = closed(1, 10.0, 100.0, p99_ms=110.0)
FEW = closed(4, 30.0, 130.0, p99_ms=200.0)
MANY = closed(16, 40.0, 390.0, p99_ms=700.0)
TOO_MANY = closed(64, 45.0, 1300.0, p99_ms=2000.0, failed=9)


def test_without_an_objective_the_utilization_target_decides() -> None:
    rate = replica_rate(figures(LONE, FEW, MANY, TOO_MANY), utilization=0.6, p99_ms=None)
    assert rate.peak is MANY, "a load at which requests failed is no peak"
    assert rate.clips_per_second == pytest.approx(24.0) and rate.utilization == pytest.approx(0.6)
    assert (rate.point, rate.bound) == (FEW, Bound.UTILIZATION)


def test_more_callers_than_fill_a_replica_say_nothing_of_its_latency() -> None:
    crowded = closed(64, 35.0, 1800.0, p99_ms=2500.0)
    assert replica_rate(figures(LONE, FEW, MANY, crowded), utilization=0.8, p99_ms=None).point is MANY


@pytest.mark.parametrize(
    ("p99_ms", "utilization", "expected", "bound"),
    [
        (110.0, 0.9, 10.0, Bound.LATENCY),
        (199.9, 0.9, 10.0, Bound.LATENCY),
        (200.0, 0.9, 30.0, Bound.LATENCY),
        (200.0, 0.5, 20.0, Bound.UTILIZATION),
        (5000.0, 0.9, 36.0, Bound.UTILIZATION),
    ],
)
def test_the_highest_load_within_the_objective_is_planned(
    p99_ms: float, utilization: float, expected: float, bound: Bound
) -> None:
    rate = replica_rate(figures(LONE, FEW, MANY, TOO_MANY), utilization=utilization, p99_ms=p99_ms)
    assert rate.clips_per_second == pytest.approx(expected) and rate.bound is bound
    assert rate.point.p99_ms <= p99_ms


def test_steady_rates_count_before_callers_who_wait() -> None:
    half, most = steady(15.0, 105.0, p99_ms=190.0), steady(28.0, 300.0, p99_ms=600.0)
    measured = figures(LONE, FEW, MANY, half, most)
    assert replica_rate(measured, utilization=0.9, p99_ms=200.0).point is half
    assert replica_rate(measured, utilization=0.9, p99_ms=600.0).clips_per_second == 28.0
    with pytest.raises(
        InvalidOption, match=r"got a p99 of 150 ms, expected 190 ms or more: .* 15 requests/s"
    ):
        replica_rate(measured, utilization=0.9, p99_ms=150.0)


def test_no_load_without_failures_is_no_benchmark_to_plan_with() -> None:
    with pytest.raises(InvalidBenchmark, match="requests failed at every load over grpc"):
        replica_rate(figures(TOO_MANY), utilization=0.8, p99_ms=None)

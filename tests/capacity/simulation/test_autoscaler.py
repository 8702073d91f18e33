"""The autoscaler's steps, computed by hand from Kubernetes' documentation and its replica calculator."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepfake_triton.capacity.simulation.autoscaler import (
    AutoscalerSettings,
    AutoscalerState,
    Scrape,
    desired_replicas,
    next_state,
)

pytestmark = pytest.mark.fast

SETTINGS = AutoscalerSettings(min_replicas=1, max_replicas=100, target_pending=10.0)


@pytest.mark.parametrize(
    ("replicas", "average", "expected"),
    [
        pytest.param(4, 20.0, 8, id="twice-the-target"),
        pytest.param(4, 5.0, 2, id="half-the-target"),
        pytest.param(3, 15.0, 5, id="rounded-up"),
        pytest.param(10, 11.0, 10, id="within-tolerance-above"),
        pytest.param(10, 9.0, 10, id="within-tolerance-below"),
        pytest.param(10, 11.01, 12, id="just-beyond-tolerance"),
        pytest.param(10, 8.9, 9, id="just-under-tolerance"),
        pytest.param(5, 0.0, 0, id="idle"),
    ],
)
def test_desired_is_the_ratio_rounded_up(replicas: int, average: float, expected: int) -> None:
    assert desired_replicas(replicas, Scrape(average, replicas), target=10.0) == expected


@pytest.mark.parametrize(
    ("replicas", "scrape", "expected"),
    [
        # 4 ready at 3.2 times the target and 4 idle: 12.8 / 8 = 1.6, so ceil(1.6 × 8).
        pytest.param(8, Scrape(32.0, 4), 13, id="starting-count-as-idle"),
        # 4 ready at 2 times the target and 4 idle: exactly the target.
        pytest.param(8, Scrape(20.0, 4), 8, id="what-starts-is-enough"),
        # 4 ready at 1.5 times and 8 idle: 6 / 12 is under the target, which turns the direction.
        pytest.param(12, Scrape(15.0, 4), 12, id="direction-turns"),
        # 4 ready and idle, 4 starting at the target: 4 / 8 = 0.5, so ceil(0.5 × 8).
        pytest.param(8, Scrape(0.0, 4), 4, id="starting-count-as-at-target"),
        pytest.param(8, Scrape(50.0, 0), 8, id="no-metric"),
        # 6 were scraped, 4 of them are left: the average counts.
        pytest.param(4, Scrape(20.0, 6), 8, id="removed-since"),
    ],
)
def test_replicas_without_a_metric(replicas: int, scrape: Scrape, expected: int) -> None:
    assert desired_replicas(replicas, scrape, target=10.0) == expected


def steps(
    state: AutoscalerState, averages: list[float], settings: AutoscalerSettings = SETTINGS, start_s: int = 0
) -> list[int]:
    """Replicas after each sync, where all are always ready."""
    found = []
    for number, average in enumerate(averages):
        scrape = Scrape(average, state.replicas)
        state = next_state(state, scrape, settings=settings, now_s=start_s + 15 * number)
        found.append(state.replicas)
    return found


def test_scaling_up_adds_four_or_doubles_in_a_period() -> None:
    assert steps(AutoscalerState(1), [500.0] * 6) == [5, 10, 20, 40, 80, 100]
    slow = replace(SETTINGS, scale_up_pods=2, scale_up_percent=10.0)
    assert steps(AutoscalerState(10), [500.0] * 3, slow) == [12, 14, 16]
    assert steps(AutoscalerState(30), [500.0] * 3, slow) == [33, 37, 41], "ten percent, rounded up"


def test_a_period_of_several_syncs_counts_what_was_added_in_it() -> None:
    settings = replace(SETTINGS, scale_up_pods=4, scale_up_percent=0.0, scale_up_period_s=60)
    # 1 → 5 at 0 s. Until 60 s the period still began at 1.
    assert steps(AutoscalerState(1), [500.0] * 6, settings) == [5, 5, 5, 5, 9, 9]


def test_scaling_down_waits_for_the_window_and_goes_at_once() -> None:
    state = AutoscalerState(20, ((0, 20),))
    found = steps(state, [0.0] * 21, start_s=15)
    # The recommendation of 0 s is 300 s old at the twentieth sync, and counts no more.
    assert found == [20] * 19 + [1, 1]


def test_the_highest_recommendation_of_the_window_is_kept() -> None:
    # At 0 s: ceil(10 × 0.8) = 8. From 15 s on: idle, but 8 still counts until 300 s.
    found = steps(AutoscalerState(10), [8.0] + [0.0] * 20)
    assert found == [8] * 20 + [1]


def test_without_a_window_it_scales_down_at_once() -> None:
    assert steps(AutoscalerState(10), [5.0, 5.0], replace(SETTINGS, stabilization_down_s=0)) == [5, 3]


@given(
    replicas=st.integers(1, 50),
    averages=st.lists(st.floats(0, 1000), min_size=1, max_size=40),
    least=st.integers(1, 10),
    more=st.integers(0, 40),
)
def test_replicas_stay_within_their_bounds(
    replicas: int, averages: list[float], least: int, more: int
) -> None:
    settings = replace(SETTINGS, min_replicas=least, max_replicas=least + more)
    within = min(max(replicas, least), least + more)
    assert all(least <= count <= least + more for count in steps(AutoscalerState(within), averages, settings))

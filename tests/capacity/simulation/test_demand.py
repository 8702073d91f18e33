from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from deepfake_triton.capacity.simulation.demand import Demand, Window, evenly_spread

pytestmark = pytest.mark.fast


def test_a_burst_without_ramps_is_a_step() -> None:
    rates = Demand(2.0, 10.0, (5,), 4, day_s=12).rates
    assert rates.tolist() == [2.0] * 5 + [10.0] * 4 + [2.0] * 3


def test_a_ramp_rises_and_falls_in_a_line() -> None:
    rates = Demand(0.0, 10.0, (1,), 6, ramp_s=2, day_s=8).rates
    assert rates.tolist() == [0.0, 2.5, 7.5, 10.0, 10.0, 7.5, 2.5, 0.0]


def test_a_day_has_the_clips_of_its_bursts() -> None:
    demand = Demand(10.0, 100.0, evenly_spread(6, 300), 300, ramp_s=30)
    # Both ramps together lack one ramp's length of the burst.
    assert demand.rates.sum() == pytest.approx(10 * 86_400 + 90 * 6 * (300 - 30))
    assert len(demand.rates) == 86_400 and np.count_nonzero(demand.rates > 10) == 6 * 300


@pytest.mark.parametrize(("count", "burst_s"), [(1, 300), (6, 300), (24, 3600), (144, 600)])
def test_bursts_are_spread_over_the_day(count: int, burst_s: int) -> None:
    starts = evenly_spread(count, burst_s)
    assert len(starts) == count and starts[0] >= 0 and starts[-1] + burst_s <= 86_400
    assert len({late - early for early, late in pairwise(starts)}) <= 1


def test_windows_are_ten_minutes_around_their_burst() -> None:
    assert Demand(1.0, 2.0, (1000,), 300).windows == (Window(850, 1450),)
    assert Demand(1.0, 2.0, (1000,), 3000).windows == (Window(940, 1540),), "the start of a long one"
    assert Demand(1.0, 2.0, (0, 86_300), 100).windows == (Window(0, 600), Window(85_800, 86_400))

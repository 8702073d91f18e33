from __future__ import annotations

from dataclasses import replace

import pytest

from deepfake_triton.capacity.simulation.autoscaler import AutoscalerSettings
from deepfake_triton.capacity.simulation.cluster import Outcome, ReplicaModel
from deepfake_triton.capacity.simulation.demand import Demand, evenly_spread
from deepfake_triton.capacity.simulation.study import Limits, study

pytestmark = pytest.mark.fast

REPLICA = ReplicaModel(clips_per_second=10.0, slots=1, max_queue=30)
DEMAND = Demand(5.0, 50.0, evenly_spread(2, 200), 200, ramp_s=20)
FEW = AutoscalerSettings(min_replicas=1, max_replicas=8, target_pending=8.0, start_s=60)
ENOUGH = replace(FEW, min_replicas=7)


@pytest.fixture(autouse=True)
def needs_simpy() -> None:
    pytest.importorskip("simpy", reason="simpy is not installed: pip install 'deepfake-triton[capacity]'")


def test_enough_replicas_hold() -> None:
    found = study(DEMAND, REPLICA, ENOUGH, limits=Limits(0.0, wait_s=2.0))
    assert found.holds and found.holding_min_replicas is None
    assert found.event_bursts is not None and found.event_bursts.arrived == pytest.approx(
        found.fluid_bursts.arrived, rel=0.03
    )
    assert found.day.replica_hours == pytest.approx(7 * 24, rel=0.01)


def test_too_few_do_not_and_the_least_that_would_are_named() -> None:
    limits = Limits(0.0)
    found = study(DEMAND, REPLICA, FEW, limits=limits)
    assert not found.holds and found.day.refused > 0
    assert [words.partition(":")[0] for words in found.broken] == ["fluid", "event by event"]
    least = found.holding_min_replicas
    assert least is not None and 1 < least <= 7
    assert study(DEMAND, REPLICA, replace(FEW, min_replicas=least), limits=limits).holds
    assert not study(DEMAND, REPLICA, replace(FEW, min_replicas=least - 1), limits=limits).holds


def test_where_even_the_most_are_too_few_none_is_named() -> None:
    found = study(DEMAND, REPLICA, replace(FEW, max_replicas=3), limits=Limits(0.0))
    assert not found.holds and found.holding_min_replicas is None


def test_a_share_may_be_refused() -> None:
    share = study(DEMAND, REPLICA, FEW, limits=Limits(0.0)).day.refused_share
    assert 0.0 < share < 0.05
    assert study(DEMAND, REPLICA, FEW, limits=Limits(share * 1.2)).holds
    assert not study(DEMAND, REPLICA, FEW, limits=Limits(share * 0.8)).holds


def test_chance_alone_may_break_a_limit() -> None:
    """Five replicas at their full rate: nothing waits in the fluid model; in the other chance piles up."""
    five = replace(FEW, min_replicas=5, max_replicas=12)
    found = study(DEMAND, REPLICA, five, limits=Limits(0.0, wait_s=0.2))
    assert {words.partition(":")[0] for words in found.broken} == {"event by event"}
    assert found.day.refused == found.day.longest_wait_s == 0
    assert found.holding_min_replicas is not None and found.holding_min_replicas > 5


def test_over_a_thousand_clips_a_second_the_fluid_model_is_alone() -> None:
    demand = replace(DEMAND, base=1000.0, peak=10_000.0)
    found = study(demand, ReplicaModel(100.0, 7, 128), replace(FEW, max_replicas=120), limits=Limits(0.0))
    assert found.event_bursts is None and found.day.refused > 0
    assert found.holding_min_replicas == pytest.approx(100, abs=2)


def test_limits_say_what_they_are_broken_by() -> None:
    outcome = Outcome(1000.0, 25.0, 3.5, 1.0, 2)
    assert Limits(0.025, wait_s=3.5).broken_by(outcome) == ()
    assert Limits(1.0).broken_by(outcome) == ()
    assert Limits(0.02, wait_s=3.0).broken_by(outcome) == (
        "2.5 % of the day's clips refused, at most 2 % wanted",
        "a wait of 3.50 s, at most 3 s wanted",
    )

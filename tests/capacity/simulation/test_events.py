"""The event-by-event model, by itself and beside the fluid model where both apply."""

from __future__ import annotations

import random
import sys

import numpy as np
import pytest

from deepfake_triton.capacity.simulation.autoscaler import AutoscalerSettings
from deepfake_triton.capacity.simulation.cluster import Outcome, ReplicaModel, settled
from deepfake_triton.capacity.simulation.demand import Demand, Window, evenly_spread
from deepfake_triton.capacity.simulation.events import run_events
from deepfake_triton.capacity.simulation.fluid import run_fluid
from deepfake_triton.errors import MissingDependency

pytestmark = pytest.mark.fast

REFUSED_SHARE, WAIT_S, REPLICA_HOURS = 0.01, 0.1, 0.02
"""By how much both models may differ around a burst that overloads or leaves room: in the share of its clips
that are refused, in the longest wait (seconds, or a share of it), and in replica-hours (a share of them)."""

# Clips a second, slots and queue of a replica; clips a second of a burst, its length and ramp; then the least
# replicas, the target, and the time of a start.
AGREEING = {
    "short-queue": ((20.0, 2, 16), (100.0, 300, 30), (2, 4.0, 30)),
    "long-queue": ((20.0, 2, 128), (100.0, 300, 30), (2, 32.0, 30)),
    "no-ramp": ((20.0, 2, 128), (100.0, 300, 0), (2, 32.0, 30)),
    "a-gpu-each": ((96.6, 7, 128), (600.0, 300, 30), (3, 32.0, 28)),
    "slow-start": ((20.0, 2, 64), (200.0, 300, 10), (4, 16.0, 120)),
    "a-thousand-a-second": ((100.0, 7, 128), (1000.0, 120, 0), (3, 32.0, 30)),
    "enough-from-the-start": ((20.0, 2, 64), (200.0, 300, 10), (12, 16.0, 60)),
}


def needs_simpy() -> None:
    pytest.importorskip("simpy", reason="simpy is not installed: pip install 'deepfake-triton[capacity]'")


def constant(rate: float, replica: ReplicaModel, *, replicas: int = 1, seconds: int = 600) -> Outcome:
    needs_simpy()
    settings = AutoscalerSettings(replicas, replicas, 1e9)
    window = Window(0, seconds)
    rates = np.full(seconds, rate)
    return run_events(rates, replica, settings, window=window, state=settled(settings), seed=1)


Case = tuple[tuple[float, int, int], tuple[float, int, int], tuple[int, float, int]]


def both(case: Case, seed: int) -> tuple[Outcome, Outcome]:
    """What comes of ten minutes around a burst by the fluid model, and event by event."""
    (rate, slots, queue), (peak, burst_s, ramp_s), (least, target, start_s) = case
    replica = ReplicaModel(rate, slots, queue)
    settings = AutoscalerSettings(least, int(peak / rate / 0.8) + 2, target, start_s=start_s)
    demand = Demand(peak / 10, peak, evenly_spread(2, burst_s), burst_s, ramp_s)
    window = demand.windows[0]
    fluid = run_fluid(demand.rates, replica, settings, snapshots_at={window.start_s})
    state = fluid.snapshots[window.start_s]
    found = run_events(demand.rates, replica, settings, window=window, state=state, seed=seed)
    return fluid.outcome(window), found


def drawn(seed: int) -> Case:
    """Settings by chance, but none whose least replicas take the burst with less than 5 % of them free."""
    chance = random.Random(seed)
    rate, peak = chance.choice([10.0, 20.0, 40.0]), chance.choice([100.0, 150.0, 230.0])
    queue = chance.choice([16, 32, 64, 128])
    counts = range(int(peak / 10 / rate) + 1, int(peak / rate / 0.8) + 2)
    least = chance.choice([count for count in counts if not 0.95 <= peak / (count * rate) <= 1.0])
    burst = (peak, chance.choice([120, 300, 500]), chance.choice([0, 10, 30]))
    return (
        (rate, chance.choice([1, 2, 4]), queue),
        burst,
        (least, queue / 4, chance.choice([10, 30, 60, 120])),
    )


def assert_agreement(expected: Outcome, found: Outcome) -> None:
    assert found.arrived == pytest.approx(expected.arrived, rel=0.02)
    assert found.refused_share == pytest.approx(expected.refused_share, abs=REFUSED_SHARE)
    assert found.replica_hours == pytest.approx(expected.replica_hours, rel=REPLICA_HOURS)
    if expected.longest_wait_s:
        assert found.longest_wait_s == pytest.approx(expected.longest_wait_s, abs=WAIT_S, rel=WAIT_S)
    else:
        assert found.longest_wait_s < 1.0


@pytest.mark.parametrize("name", AGREEING)
def test_both_models_agree_where_they_overlap(name: str) -> None:
    needs_simpy()
    expected, found = both(AGREEING[name], seed=7)
    assert_agreement(expected, found)
    assert found.most_replicas == expected.most_replicas
    assert not expected.refused or expected.refused_share > 2 * REFUSED_SHARE, "too little to compare"


@pytest.mark.parametrize("seed", range(12))
def test_both_models_agree_on_settings_drawn_by_chance(seed: int) -> None:
    needs_simpy()
    assert_agreement(*both(drawn(seed), seed))


def test_chance_makes_clips_wait_where_the_fluid_model_sees_room() -> None:
    """Under full load all the time, M/D/1 waits 4.5 service times on average at 0.9 of its rate."""
    found = constant(9.0, ReplicaModel(10.0, 1, 1000))
    assert found.refused == 0 and 1.0 < found.longest_wait_s < 5.0
    assert constant(1.0, ReplicaModel(10.0, 1, 1000)).longest_wait_s < 0.5


def test_an_overloaded_replica_answers_its_rate_and_refuses_the_rest() -> None:
    found = constant(15.0, ReplicaModel(10.0, 2, 20))
    assert found.arrived == pytest.approx(9000, rel=0.03)
    answered = found.arrived - found.refused
    assert answered == pytest.approx(10 * 600 + 20, abs=5)
    assert found.longest_wait_s == pytest.approx(2.0, abs=0.11), "20 waiting at 10 a second"


def test_least_loaded_of_two_keeps_replicas_even() -> None:
    together = constant(90.0, ReplicaModel(10.0, 1, 1000), replicas=10, seconds=300)
    alone = constant(9.0, ReplicaModel(10.0, 1, 1000), seconds=300)
    assert together.longest_wait_s < alone.longest_wait_s


def test_the_same_seed_gives_the_same_outcome() -> None:
    replica = ReplicaModel(10.0, 1, 10)
    assert constant(12.0, replica, seconds=60) == constant(12.0, replica, seconds=60)


def test_it_begins_with_the_queue_of_the_state_before() -> None:
    needs_simpy()
    settings = AutoscalerSettings(1, 1, 1e9)
    window, rates = Window(0, 60), np.zeros(60)
    state = run_fluid(
        np.array([40.0, 0.0]), ReplicaModel(10.0, 1, 100), settings, snapshots_at={1}
    ).snapshots[1]
    found = run_events(rates, ReplicaModel(10.0, 1, 100), settings, window=window, state=state, seed=0)
    assert found.arrived == 0 and found.longest_wait_s == pytest.approx(2.9), "the last of thirty"


def test_without_simpy_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "simpy", None)
    settings = AutoscalerSettings(1, 1, 1.0)
    with pytest.raises(MissingDependency, match=r"needs simpy: pip install 'deepfake-triton\[capacity\]'"):
        run_events(
            np.zeros(60),
            ReplicaModel(1.0, 1, 1),
            settings,
            window=Window(0, 60),
            state=settled(settings),
            seed=0,
        )

"""The fluid model on demands whose outcome follows by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from deepfake_triton.capacity.simulation.autoscaler import AutoscalerSettings
from deepfake_triton.capacity.simulation.cluster import Outcome, ReplicaModel
from deepfake_triton.capacity.simulation.demand import Demand, Window, evenly_spread
from deepfake_triton.capacity.simulation.fluid import run_fluid

pytestmark = pytest.mark.fast

REPLICA = ReplicaModel(clips_per_second=10.0, slots=1, max_queue=30)
FIXED = AutoscalerSettings(min_replicas=2, max_replicas=2, target_pending=8.0)


def test_what_fits_waits_nowhere() -> None:
    run = run_fluid(np.full(120, 20.0), REPLICA, FIXED)
    assert run.outcome() == Outcome(2400.0, 0.0, 0.0, 240 / 3600, 2)


def test_the_queue_grows_by_the_difference_and_then_refuses() -> None:
    # 25 come and 20 leave: 5 more wait each second, until 2 × 30 do.
    run = run_fluid(np.full(20, 25.0), REPLICA, FIXED)
    assert run.wait_s[:3].tolist() == [0.25, 0.5, 0.75]
    assert run.wait_s[11:].tolist() == [3.0] * 9, "a full queue at 10 clips a second"
    assert run.refused.tolist() == [0.0] * 12 + [5.0] * 8
    assert run.outcome().refused_share == pytest.approx(40 / 500)


def test_the_queue_empties_after_a_burst() -> None:
    run = run_fluid(np.array([60.0, 0.0, 0.0, 0.0]), REPLICA, FIXED)
    assert run.wait_s.tolist() == [2.0, 1.0, 0.0, 0.0]


def test_a_replica_answers_once_it_has_started() -> None:
    settings = replace(FIXED, max_replicas=4, start_s=20)
    run = run_fluid(np.full(60, 40.0), REPLICA, settings)
    # Full at 3 s, scraped and decided at 15 s, ready at 35 s: until then 20 a second are refused.
    assert run.replicas.tolist() == [2] * 15 + [4] * 45, "paid for from the decision on"
    assert run.refused[3:35].tolist() == [20.0] * 32 and not run.refused[35:].any()


def test_more_than_the_metric_says_is_not_known_before_a_scrape() -> None:
    settings = replace(FIXED, max_replicas=4, scrape_interval_s=60)
    run = run_fluid(np.full(90, 40.0), REPLICA, settings)
    assert run.replicas.tolist() == [2] * 60 + [4] * 30


def test_after_a_burst_replicas_go_once_the_window_has_passed() -> None:
    settings = replace(FIXED, max_replicas=4, start_s=20)
    rates = np.concatenate([np.full(60, 40.0), np.zeros(600)])
    run = run_fluid(rates, REPLICA, settings)
    # The last sync that wants four replicas is at 45 s (60 clips wait until 60 s, then none).
    gone = int(np.flatnonzero(run.replicas == 4)[-1]) + 1
    assert 345 <= gone <= 375 and run.replicas[gone:].tolist() == [2] * (660 - gone)


def test_a_burst_longer_than_the_window_loses_its_replicas_and_gets_them_back() -> None:
    """Once there is room nothing waits, and the metric says that nothing is needed."""
    replica = ReplicaModel(20.0, 2, 64)
    demand = Demand(20.0, 200.0, (1000,), 3600, ramp_s=30, day_s=6000)
    settings = AutoscalerSettings(min_replicas=3, max_replicas=18, target_pending=16.0, start_s=18)
    run = run_fluid(demand.rates, replica, settings)
    inside = run.replicas[1050:4600]
    falls = np.flatnonzero(np.diff(inside) < 0)
    assert len(falls) == 10 and set(np.diff(falls)) == {330} and (inside.max(), inside.min()) == (18, 6)
    assert run.outcome().refused_share == pytest.approx(0.034, abs=0.001)
    patient = run_fluid(demand.rates, replica, replace(settings, stabilization_down_s=3600))
    assert not (np.diff(patient.replicas[1050:4600]) < 0).any()
    assert patient.outcome().refused_share < 0.005


def test_a_snapshot_is_the_state_before_its_second() -> None:
    run = run_fluid(np.full(60, 40.0), REPLICA, replace(FIXED, max_replicas=4), snapshots_at={0, 2, 30})
    assert (run.snapshots[0].queue, run.snapshots[2].queue) == (0.0, 40.0)
    assert (run.snapshots[30].ready, run.snapshots[30].ready_at_s) == (2, (75, 75))


def test_a_day_with_bursts() -> None:
    demand = Demand(15.0, 60.0, evenly_spread(6, 300), 300, ramp_s=0)
    settings = AutoscalerSettings(min_replicas=2, max_replicas=8, target_pending=7.0, start_s=30)
    run = run_fluid(demand.rates, REPLICA, settings)
    day = run.outcome()
    assert day.arrived == pytest.approx(15 * 86_400 + 45 * 1800)
    assert day.most_replicas == 8 and day.longest_wait_s == pytest.approx(3.0)
    # All refusals are in bursts, before what was added has started: at most 60 s of 40 clips.
    refused = [float(run.refused[start : start + 300].sum()) for start in demand.bursts]
    assert day.refused == pytest.approx(sum(refused)) and all(0 < count <= 60 * 40 for count in refused)
    # Two replicas all day, and more for about ten minutes after each burst begins.
    assert 48 < day.replica_hours < 48 + 6 * 6 * 700 / 3600
    quiet = run.outcome(Window(0, demand.bursts[0]))
    assert quiet.refused == 0 and quiet.most_replicas == 2


def test_ten_thousand_clips_a_second_for_a_day() -> None:
    demand = Demand(1000.0, 10_000.0, evenly_spread(6, 300), 300, ramp_s=30)
    replica = ReplicaModel(96.6, 7, 128)
    settings = AutoscalerSettings(min_replicas=110, max_replicas=131, target_pending=32.0)
    assert run_fluid(demand.rates, replica, settings).outcome().refused == 0
    few = run_fluid(demand.rates, replica, replace(settings, min_replicas=50))
    assert 0.001 < few.outcome().refused_share < 0.1

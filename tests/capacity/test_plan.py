from __future__ import annotations

import pytest
from capacity_figures import GPU, closed, figures
from hypothesis import given
from hypothesis import strategies as st

from deepfake_triton.capacity.network import ClipShape
from deepfake_triton.capacity.plan import Plan, Prices, Requirements, make_plan, replicas_for

pytestmark = pytest.mark.fast

CLIP = ClipShape(20, 360, 640)
POINTS = (closed(1, 10.0, 100.0, p99_ms=110.0), closed(8, 50.0, 160.0, p99_ms=400.0))


def plan_for(asked: Requirements, prices: Prices | None = None, gpu: str | None = GPU) -> Plan:
    return make_plan(figures(*POINTS, gpu=gpu), asked, clip=CLIP, prices=prices or Prices())


def test_a_plan_by_hand() -> None:
    plan = plan_for(Requirements(200.0, utilization=0.8, max_queue=64), Prices(3.6, 0.05))
    assert (plan.needed_replicas, plan.replicas, plan.gpus, plan.cpu_cores) == (5, 6, 6, 48)
    assert plan.utilization == pytest.approx(200 / 300)
    assert plan.network_bytes_per_second == 200 * (13_824_000 + plan.clip.response_bytes)
    assert plan.full_queue_wait_s == pytest.approx(64 / 50)
    assert (plan.clips_absorbed, plan.target_pending) == (6 * 64, 16)
    # A million clips at 200/s take 5,000 s, and 6 replicas 30,000 s of it.
    assert plan.replica_hours_per_million == pytest.approx(30_000 / 3600)
    assert plan.replica_cost_per_million == pytest.approx(30.0)
    assert plan.network_cost_per_million == pytest.approx(0.05 * plan.clip.total_bytes / 1000)
    assert plan.cost_per_million == pytest.approx(30.0 + 0.05 * plan.clip.total_bytes / 1000)


def test_without_prices_there_is_no_cost() -> None:
    plan = plan_for(Requirements(200.0))
    assert plan.replica_cost_per_million is plan.network_cost_per_million is plan.cost_per_million is None
    assert plan_for(Requirements(200.0), Prices(0.0)).cost_per_million == 0.0, "a price of 0 is a price"


def test_the_queue_within_the_objective_leaves_time_for_the_clip_itself() -> None:
    plan = plan_for(Requirements(200.0, p99_ms=400.0))
    assert plan.wait_budget_s == pytest.approx(0.3) and plan.queue_within_objective == 15
    assert plan_for(Requirements(200.0)).queue_within_objective is None


def test_a_machine_without_a_gpu_needs_none() -> None:
    assert plan_for(Requirements(200.0), gpu=None).gpus == 0


@pytest.mark.parametrize(
    ("demand", "each", "expected"),
    [(0.001, 40.0, 1), (40.0, 40.0, 1), (40.1, 40.0, 2), (0.3, 0.1, 3), (2.1, 0.7, 3), (8.4, 2.8, 3)],
)
def test_whole_ratios_are_not_rounded_up(demand: float, each: float, expected: int) -> None:
    assert replicas_for(demand, each) == expected


@given(
    demand=st.floats(0.01, 20_000),
    utilization=st.floats(0.05, 1.0),
    spare=st.integers(0, 5),
)
def test_a_plan_takes_its_demand_and_no_replica_too_many(
    demand: float, utilization: float, spare: int
) -> None:
    plan = plan_for(Requirements(demand, utilization=utilization, spare_replicas=spare))
    capacity = plan.needed_replicas * plan.rate.clips_per_second
    assert capacity >= demand * (1 - 1e-6)
    assert plan.needed_replicas == 1 or capacity - plan.rate.clips_per_second < demand
    assert plan.replicas == plan.needed_replicas + spare

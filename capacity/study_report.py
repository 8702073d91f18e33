"""What a simulated day says of an autoscaler's settings, as a short table and as JSON."""

from __future__ import annotations

from dataclasses import dataclass

from deepfake_triton.benchmarks.suite.benchmark import markdown_table
from deepfake_triton.capacity.plan import BYTES_PER_GIGABYTE, Plan
from deepfake_triton.capacity.simulation.autoscaler import AutoscalerSettings
from deepfake_triton.capacity.simulation.cluster import Outcome, ReplicaModel
from deepfake_triton.capacity.simulation.demand import Demand
from deepfake_triton.capacity.simulation.study import EVENTS, FLUID, MAX_EVENTS_PER_SECOND, Limits, Study
from deepfake_triton.json_object import JsonObject


@dataclass(frozen=True)
class Setup:
    """What was simulated."""

    demand: Demand
    replica: ReplicaModel
    settings: AutoscalerSettings
    limits: Limits
    start_source: str
    """Where the time that a replica takes to start comes from."""


def study_text(plan: Plan, setup: Setup, *, result: Study) -> str:
    """Return the settings, a table of what came of them, and whether they hold."""
    rows = [
        [
            when,
            model,
            f"{100 * outcome.refused_share:.3g} %",
            f"{outcome.longest_wait_s:.2f} s",
            f"{outcome.replica_hours:.1f}",
            outcome.most_replicas,
            _cost_text(plan, outcome),
        ]
        for when, model, outcome in _outcomes(result)
    ]
    head = ["time", "model", "refused", "longest wait", "replica-hours", "most replicas", "cost"]
    lines = [*_settings_lines(setup), "", *markdown_table(head, rows), "", *_verdict_lines(setup, result)]
    return "\n".join(lines)


def study_json(plan: Plan, setup: Setup, *, result: Study) -> JsonObject:
    """Return the JSON form."""
    demand, settings, replica = setup.demand, setup.settings, setup.replica
    return {
        "demand": {
            "base_clips_per_second": demand.base,
            "burst_clips_per_second": demand.peak,
            "burst_starts_s": list(demand.bursts),
            "burst_s": demand.burst_s,
            "ramp_s": demand.ramp_s,
        },
        "replica": {
            "clips_per_second": replica.clips_per_second,
            "slots": replica.slots,
            "max_queue": replica.max_queue,
        },
        "autoscaler": {
            "min_replicas": settings.min_replicas,
            "max_replicas": settings.max_replicas,
            "target_pending": settings.target_pending,
            "tolerance": settings.tolerance,
            "sync_period_s": settings.sync_period_s,
            "scrape_interval_s": settings.scrape_interval_s,
            "start_s": settings.start_s,
            "start_source": setup.start_source,
            "scale_up_pods": settings.scale_up_pods,
            "scale_up_percent": settings.scale_up_percent,
            "scale_up_period_s": settings.scale_up_period_s,
            "stabilization_down_s": settings.stabilization_down_s,
        },
        "limits": {"refused_share": setup.limits.refused_share, "wait_s": setup.limits.wait_s},
        "outcomes": [
            {
                "time": when,
                "model": model,
                "arrived": round(outcome.arrived),
                "refused_share": outcome.refused_share,
                "longest_wait_s": outcome.longest_wait_s,
                "replica_hours": outcome.replica_hours,
                "most_replicas": outcome.most_replicas,
                "cost": _cost(plan, outcome),
            }
            for when, model, outcome in _outcomes(result)
        ],
        "holds": result.holds,
        "broken": list(result.broken),
        "holding_min_replicas": result.holding_min_replicas,
    }


def _outcomes(result: Study) -> list[tuple[str, str, Outcome]]:
    found = [
        ("the day", FLUID, result.day),
        ("around bursts", FLUID, result.fluid_bursts),
        ("around bursts", EVENTS, result.event_bursts),
    ]
    return [(when, model, outcome) for when, model, outcome in found if outcome is not None]


def _settings_lines(setup: Setup) -> list[str]:
    demand, settings, replica = setup.demand, setup.settings, setup.replica
    slots = f"{replica.slots} clip{'s' * (replica.slots != 1)} at once"
    return [
        f"Demand: {demand.base:g} clips/s, and {len(demand.bursts)} bursts a day of {demand.peak:g} clips/s "
        f"for {demand.burst_s} s, with ramps of {demand.ramp_s} s.",
        f"Replica: {replica.clips_per_second:g} clips/s, {slots}, {replica.max_queue} may wait; ready "
        f"{settings.start_s} s after its creation ({setup.start_source}).",
        f"Autoscaler: {settings.min_replicas} to {settings.max_replicas} replicas, target "
        f"{settings.target_pending:g} pending a replica, scraped every {settings.scrape_interval_s} s, "
        f"decides every {settings.sync_period_s} s, adds {settings.scale_up_pods} or "
        f"{settings.scale_up_percent:g} % in {settings.scale_up_period_s} s, "
        f"waits {settings.stabilization_down_s} s before it removes.",
    ]


def _verdict_lines(setup: Setup, result: Study) -> list[str]:
    settings, lines = setup.settings, []
    if result.event_bursts is None:
        lines.append(f"Over {MAX_EVENTS_PER_SECOND:,.0f} clips/s the fluid model is alone.")
    if settings.target_pending * (1 + settings.tolerance) >= setup.replica.max_queue:
        lines.append(
            "The target is as high as the queue's bound, where Triton's gauge ends: nothing is ever added. "
            f"Say --target-pending {max(1, setup.replica.max_queue // 4)}."
        )
    if result.holds:
        return [*lines, "The settings hold."]
    lines.append(f"The settings do not hold: {'; '.join(result.broken)}.")
    if result.holding_min_replicas is None:
        return [*lines, f"Not even {settings.max_replicas} replicas all day would: raise --max-replicas."]
    would = f"--min-replicas {result.holding_min_replicas} would hold"
    if result.event_bursts is None:
        return [*lines, f"{would} in the fluid model, which knows no chance: take some more."]
    return [*lines, f"{would}."]


def _cost(plan: Plan, outcome: Outcome) -> float | None:
    """Return the price of replicas and network, as far as prices are known; None without any."""
    prices, answered = plan.prices, outcome.arrived - outcome.refused
    costs = []
    if prices.per_replica_hour is not None:
        costs.append(prices.per_replica_hour * outcome.replica_hours)
    if prices.per_gigabyte is not None:
        costs.append(prices.per_gigabyte * answered * plan.clip.total_bytes / BYTES_PER_GIGABYTE)
    return sum(costs) if costs else None


def _cost_text(plan: Plan, outcome: Outcome) -> str:
    cost = _cost(plan, outcome)
    return "needs --price-per-hour" if cost is None else f"{cost:,.2f}"

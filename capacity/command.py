"""`deepfake-triton capacity`: plan from a benchmark, and simulate the autoscaler that would run the plan."""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass

from deepfake_triton.capacity.benchmark_file import read_load_figures
from deepfake_triton.capacity.load_figures import LoadFigures, of_transport
from deepfake_triton.capacity.network import ClipShape
from deepfake_triton.capacity.options import DEFAULT_START_S, configure
from deepfake_triton.capacity.plan import Plan, Prices, Requirements, make_plan, replicas_for
from deepfake_triton.capacity.plan_report import plan_json, plan_text
from deepfake_triton.capacity.simulation.autoscaler import AutoscalerSettings
from deepfake_triton.capacity.simulation.cluster import ReplicaModel
from deepfake_triton.capacity.simulation.demand import DAY_S, Demand, evenly_spread
from deepfake_triton.capacity.simulation.study import Limits, Study, study
from deepfake_triton.capacity.study_report import Setup, study_json, study_text
from deepfake_triton.console.terminal import printable
from deepfake_triton.contracts import DEFAULT_FRAMES
from deepfake_triton.errors import InvalidOption
from deepfake_triton.json_object import JsonObject

__all__ = ["configure", "run"]

_SCHEMA_VERSION = 1


@dataclass(frozen=True)
class _Simulated:
    setup: Setup
    result: Study


def run(args: argparse.Namespace) -> int:
    """Print the plan, and what the simulation says; 1 where the settings do not hold.

    Raises InvalidBenchmark, InvalidOption, MissingDependency.
    """
    plan = _plan(args)
    simulated = _simulate(args, plan) if args.simulate else None
    if args.json:
        print(json.dumps(_to_json(plan, simulated), indent=1))
    else:
        print(_to_text(plan, simulated))
    return 0 if simulated is None or simulated.result.holds else 1


def _plan(args: argparse.Namespace) -> Plan:
    figures = of_transport(read_load_figures(args.benchmark), args.transport)
    asked = Requirements(
        clips_per_second=args.clips_per_second,
        p99_ms=args.p99_ms,
        utilization=args.utilization,
        spare_replicas=args.spare_replicas,
        max_queue=args.max_queue or _exported_queue(figures),
    )
    clip = ClipShape(
        frames=args.frames or figures.frames or DEFAULT_FRAMES,
        height=args.height,
        width=args.width,
        jpeg_frame_bytes=args.jpeg_frame_bytes,
    )
    return make_plan(figures, asked, clip=clip, prices=Prices(args.price_per_hour, args.price_per_gigabyte))


def _exported_queue(figures: LoadFigures) -> int:
    """Return the queue that an export for such a machine has."""
    from deepfake_triton.export.repository.queue_sizing import GPU_QUEUE, max_queue_for

    if figures.environment.gpu:
        return GPU_QUEUE
    return max_queue_for(1000 / figures.peak.clips_per_second)


def _simulate(args: argparse.Namespace, plan: Plan) -> _Simulated:
    demand = _demand(args)
    settings, start_source = _settings(args, plan, demand)
    replica = replica_model(plan)
    limits = Limits(args.refused_at_most, args.wait_at_most or plan.wait_budget_s)
    setup = Setup(demand, replica, settings, limits=limits, start_source=start_source)
    return _Simulated(setup, study(demand, replica, settings, limits=limits, seed=args.seed))


def replica_model(plan: Plan) -> ReplicaModel:
    """Return a replica that is as fast as measured: by Little's law, its peak × the latency of a lone clip is
    the number of clips in work at once."""
    peak = plan.rate.peak.clips_per_second
    slots = max(1, round(peak * plan.figures.lightest.p50_ms / 1000))
    return ReplicaModel(peak, slots, plan.asked.max_queue)


def _demand(args: argparse.Namespace) -> Demand:
    peak = args.clips_per_second
    base = peak / 10 if args.base_clips_per_second is None else args.base_clips_per_second
    if base > peak:
        raise InvalidOption(
            f"got --base-clips-per-second {base:g}, expected at most --clips-per-second {peak:g}"
        )
    if args.bursts * args.burst_seconds > DAY_S:
        raise InvalidOption(
            f"got {args.bursts} bursts of {args.burst_seconds} s, expected a day of them together at most"
        )
    if 2 * args.ramp_seconds > args.burst_seconds:
        raise InvalidOption(
            f"got --ramp-seconds {args.ramp_seconds}, expected at most half of --burst-seconds "
            f"{args.burst_seconds}"
        )
    starts = evenly_spread(args.bursts, args.burst_seconds)
    return Demand(base, peak, starts, args.burst_seconds, args.ramp_seconds)


def _settings(args: argparse.Namespace, plan: Plan, demand: Demand) -> tuple[AutoscalerSettings, str]:
    """Return the autoscaler's settings, and where the time that a replica takes to start comes from."""
    at_base = replicas_for(demand.base, plan.rate.clips_per_second) + plan.asked.spare_replicas
    most = args.max_replicas or max(plan.replicas, args.min_replicas or 1)
    least = args.min_replicas or min(at_base, most)
    if least > most:
        raise InvalidOption(f"got --min-replicas {least}, expected at most --max-replicas {most}")
    measured = plan.figures.start_s
    if args.start_seconds:
        start_s, source = args.start_seconds, "--start-seconds"
    elif measured is not None:
        start_s, source = (
            max(1, round(measured)),
            f"measured, without pulling an image: {plan.figures.source}",
        )
    else:
        start_s, source = DEFAULT_START_S, "assumed: measure it, and say --start-seconds"
    settings = AutoscalerSettings(
        min_replicas=least,
        max_replicas=most,
        target_pending=args.target_pending or plan.target_pending,
        sync_period_s=args.sync_period,
        scrape_interval_s=args.scrape_interval,
        start_s=start_s,
        scale_up_pods=args.scale_up_pods,
        scale_up_percent=args.scale_up_percent,
        scale_up_period_s=args.scale_up_period,
        stabilization_down_s=args.stabilization_down,
    )
    return settings, source


def _to_text(plan: Plan, simulated: _Simulated | None) -> str:
    text = plan_text(plan)
    if simulated is not None:
        text += f"\n\n{study_text(plan, simulated.setup, result=simulated.result)}"
    return "\n".join(map(printable, text.splitlines()))


def _to_json(plan: Plan, simulated: _Simulated | None) -> JsonObject:
    return {
        "schema_version": _SCHEMA_VERSION,
        "plan": plan_json(plan),
        "simulation": simulated and study_json(plan, simulated.setup, result=simulated.result),
    }

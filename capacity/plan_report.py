"""A plan as lines, each with where its figure comes from, and as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from deepfake_triton.benchmarks.suite.benchmark import markdown_table
from deepfake_triton.capacity.plan import BYTES_PER_GIGABYTE, Plan
from deepfake_triton.capacity.replica_rate import Bound
from deepfake_triton.json_object import JsonObject


@dataclass(frozen=True)
class Line:
    """One figure of the plan; `value` is None where an argument is missing that gives it."""

    key: str
    label: str
    value: float | None
    unit: str
    source: str

    @property
    def text(self) -> str:
        """The value with its unit."""
        if self.value is None:
            return "–"
        number = (
            f"{self.value:,.0f}"
            if self.value >= 1000 or self.value == int(self.value)
            else f"{self.value:.3g}"
        )
        return f"{number} {self.unit}".strip()


def plan_lines(plan: Plan) -> tuple[Line, ...]:
    """Return every figure of the plan, in the order in which one follows from another."""
    return (
        *_rate_lines(plan),
        *_replica_lines(plan),
        *_network_lines(plan),
        *_queue_lines(plan),
        *_costs(plan),
    )


def plan_notes(plan: Plan) -> tuple[str, ...]:
    """Return what to know before relying on the figures."""
    figures, notes = plan.figures, []
    if figures.note:
        notes.append(f"As measured: {figures.note}.")
    if not figures.crosses_hosts:
        notes.append(
            f"Measured over {figures.transport}, with callers on the server's own host. Replicas on other "
            "hosts are asked over gRPC, which costs more: measure with `bench load --transport grpc`."
        )
    if plan.asked.p99_ms is not None and not plan.rate.point.is_steady_rate:
        notes.append(
            "The latency was measured with callers who wait for each answer; at a steady rate queues grow "
            "longer. `bench load` measures both."
        )
    if plan.rate.peak is max(figures.points, key=lambda point: point.callers or 0):
        notes.append("The peak is at the largest load that was measured: more callers might give more.")
    longest = plan.queue_within_objective
    if longest is not None and plan.asked.max_queue > longest:
        notes.append(
            f"A full queue of {plan.asked.max_queue} takes longer than the latency objective: export with "
            f"`--max-queue {max(1, longest)}` to refuse what would be late."
        )
    return tuple(notes)


def plan_text(plan: Plan) -> str:
    """Return a Markdown table of all figures, and the notes."""
    rows = [[line.label, line.text, line.source] for line in plan_lines(plan)]
    notes = [f"- {note}" for note in plan_notes(plan)]
    return "\n".join([*markdown_table(["figure", "value", "from"], rows), *([""] if notes else []), *notes])


def plan_json(plan: Plan) -> JsonObject:
    """Return the JSON form."""
    return {
        "benchmark": plan.figures.source,
        "machine": plan.figures.machine,
        "transport": plan.figures.transport,
        "commit": plan.figures.environment.commit,
        "figures": {
            line.key: {"value": line.value, "unit": line.unit, "source": line.source}
            for line in plan_lines(plan)
        },
        "notes": list(plan_notes(plan)),
    }


def _rate_lines(plan: Plan) -> Iterator[Line]:
    rate, figures = plan.rate, plan.figures
    measured = (
        f"measured at {rate.peak.words} over {figures.transport} on {figures.machine}: {figures.source}"
    )
    yield Line("clips_per_second", "demand", plan.asked.clips_per_second, "clips/s", "--clips-per-second")
    yield Line("peak_per_replica", "peak of one replica", rate.peak.clips_per_second, "clips/s", measured)
    if rate.bound is Bound.LATENCY:
        why = f"the highest measured load within --p99-ms {plan.asked.p99_ms:g}: {rate.point.words}"
    else:
        why = f"{plan.asked.utilization:.0%} of the peak: --utilization"
    yield Line("rate_per_replica", "planned rate of one replica", rate.clips_per_second, "clips/s", why)
    yield Line(
        "headroom", "head room under the peak", 100 * (1 - rate.utilization), "%", f"by {rate.bound.value}"
    )
    p99 = f"measured at {rate.point.words}, {rate.point.clips_per_second:g} clips/s"
    yield Line("p99_ms", "p99 of one replica", rate.point.p99_ms, "ms", p99)


def _replica_lines(plan: Plan) -> Iterator[Line]:
    asked, environment = plan.asked, plan.figures.environment
    spare = f"{plan.needed_replicas} for the demand, {asked.spare_replicas} spare (N+{asked.spare_replicas})"
    yield Line("replicas", "replicas", plan.replicas, "", spare)
    per_replica = "one a replica, as measured" if environment.gpu else "measured without one"
    yield Line("gpus", "GPUs", plan.gpus, "", per_replica)
    cores = f"{environment.cores} a replica, as measured, with the callers on the same machine"
    yield Line("cpu_cores", "CPU cores", plan.cpu_cores, "", cores)
    whole = "demand / (replicas × peak)"
    yield Line("utilization", "utilization of all replicas", 100 * plan.utilization, "%", whole)


def _network_lines(plan: Plan) -> Iterator[Line]:
    clip = plan.clip
    if clip.jpeg_frame_bytes is not None:
        shape = f"{clip.frames} frames of --jpeg-frame-bytes {clip.jpeg_frame_bytes}"
    else:
        shape = f"{clip.frames} frames × {clip.height} × {clip.width} × 3 bytes"
    answer = f"{shape}, and {clip.response_bytes:,} bytes of answer at most"
    bits = 8 * plan.network_bytes_per_second / BYTES_PER_GIGABYTE
    yield Line("bytes_per_clip", "network, one clip", clip.total_bytes / 1e6, "MB", f"computed: {answer}")
    yield Line("network_gbit_per_second", "network, all replicas", bits, "Gbit/s", "demand × bytes of a clip")
    one = bits / plan.needed_replicas
    yield Line("replica_gbit_per_second", "network, one replica", one, "Gbit/s", "without the spare ones")


def _queue_lines(plan: Plan) -> Iterator[Line]:
    bound = f"--max-queue {plan.asked.max_queue}"
    wait = f"{bound} at the peak rate"
    yield Line("full_queue_wait_s", "wait behind a full queue", plan.full_queue_wait_s, "s", wait)
    if plan.queue_within_objective is not None:
        lone = f"{plan.figures.lightest.p50_ms:g} ms of a lone clip"
        why = f"peak × ({plan.asked.p99_ms:g} ms less {lone})"
        yield Line(
            "queue_within_objective", "queue within the objective", plan.queue_within_objective, "clips", why
        )
    yield Line(
        "clips_absorbed", "burst that the queues hold", plan.clips_absorbed, "clips", f"replicas × {bound}"
    )
    target = "a quarter of the queue, where Triton's gauge ends"
    yield Line(
        "target_pending", "autoscaler's target, pending a replica", plan.target_pending, "clips", target
    )


def _costs(plan: Plan) -> Iterator[Line]:
    hours, prices = plan.replica_hours_per_million, plan.prices
    why = "replicas / demand; all run, whether or not clips come"
    yield Line("replica_hours_per_million", "replica-hours, a million clips", hours, "h", why)
    by_hour = (
        "replica-hours × --price-per-hour"
        if prices.per_replica_hour is not None
        else "needs --price-per-hour"
    )
    cost = plan.replica_cost_per_million
    yield Line("replica_cost_per_million", "cost of replicas, a million clips", cost, "", by_hour)
    by_byte = (
        "bytes × --price-per-gigabyte" if prices.per_gigabyte is not None else "needs --price-per-gigabyte"
    )
    cost = plan.network_cost_per_million
    yield Line("network_cost_per_million", "cost of network, a million clips", cost, "", by_byte)
    known = [prices.per_replica_hour is not None, prices.per_gigabyte is not None]
    if not any(known):
        why = "needs --price-per-hour"
    else:
        why = "both" if all(known) else "replicas alone" if known[0] else "network alone"
    yield Line("cost_per_million", "cost of a million clips", plan.cost_per_million, "", why)

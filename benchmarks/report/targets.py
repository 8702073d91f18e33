"""Performance targets, measured values and the bottleneck where a target is missed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TypeVar

from deepfake_triton.benchmarks.baselines.labels import (
    FASTAPI,
    FASTAPI_BATCHING,
    PROCESS,
    PROCESS_BATCHES,
    PUBLISHED,
    REFERENCE,
    TORCH,
)
from deepfake_triton.benchmarks.measure.environment import Environment
from deepfake_triton.benchmarks.suite.benchmark import Result, markdown_table
from deepfake_triton.benchmarks.suite.compare import CompareResult
from deepfake_triton.benchmarks.suite.roofline import RooflineResult
from deepfake_triton.benchmarks.suite.stages import NETWORKS, StagesResult


@dataclass(frozen=True)
class Aims:
    """What is aimed at on a kind of CPU: least ratios of throughput, and the most time for a clip of one
    caller."""

    published: float
    torch: float
    fastapi: float
    clip_ms: float | None = None


WITHOUT_VNNI = Aims(published=20, torch=4, fastapi=2)
WITH_VNNI = Aims(published=45, torch=7, fastapi=4, clip_ms=190)
"""INT8 and bfloat16 compute several times as fast there."""
_VNNI = frozenset({"avx512_vnni", "avx_vnni", "amx_int8", "amx_bf16"})
MAX_OVERHEAD = 0.25
MIN_SHARE_OF_LIMIT = 0.50
MIN_RATIO_TO_PROCESS = 0.90
NO_SLOWER = 0.95


@dataclass(frozen=True)
class Target:
    """One performance target."""

    aim: str
    measured: str
    """The figure, with its interval where there is one."""
    is_met: bool | None
    """None where the interval decides nothing."""
    bottleneck: str = ""
    """Why it is missed."""


def targets(results: Iterable[Result], environment: Environment) -> list[Target]:
    """Judge the targets, set for 2 cores of the kind in `environment`, 720p and 20 frames, as far as the
    results allow.

    A throughput target is met where the low end of its interval reaches it.
    """
    found = tuple(results)
    aims = WITH_VNNI if _VNNI.intersection(environment.instructions) else WITHOUT_VNNI
    compared, stages = _of_type(CompareResult, found), _of_type(StagesResult, found)
    roofline = _of_type(RooflineResult, found)
    return [
        *(_throughput_targets(compared, roofline, aims) if compared else ()),
        *(_latency_targets(compared, aims) if compared else ()),
        *([_overhead_target(stages)] if stages else ()),
        *(_roofline_targets(roofline) if roofline else ()),
    ]


def targets_table(judged: Sequence[Target]) -> list[str]:
    """Return the lines of a Markdown table, a row for each target."""
    words = {True: "yes", False: "**no**", None: "undecided"}
    rows = [[target.aim, target.measured, words[target.is_met], target.bottleneck] for target in judged]
    return markdown_table(["target", "measured", "met", "bottleneck"], rows)


T = TypeVar("T")


def _of_type(kind: type[T], results: Sequence[Result]) -> T | None:
    return next((result for result in results if isinstance(result, kind)), None)


def _throughput_targets(
    compared: CompareResult, roofline: RooflineResult | None, aims: Aims
) -> Iterator[Target]:
    for name, minimum, aim in _throughput_aims(compared, aims):
        path = compared.paths.get(name)
        if path is None or path.throughput_ratio is None:
            continue
        ratio = path.throughput_ratio
        is_met = True if ratio.low >= minimum else False if ratio.high < minimum else None
        others = f" against {path.callers}" if path.callers != compared.callers else ""
        yield Target(
            aim=f"{aim}, {compared.callers} callers{others}",
            measured=ratio.text,
            is_met=is_met,
            bottleneck="" if is_met else _network_limit(roofline, median(path.clips_per_second)),
        )


def _throughput_aims(compared: CompareResult, aims: Aims) -> list[tuple[str, float, str]]:
    """Return path, least ratio and words of each throughput target."""
    least = (
        (PUBLISHED, aims.published, "of the published pipeline"),
        (TORCH, aims.torch, "of torch eager with the same networks"),
        (FASTAPI, aims.fastapi, "of the plain FastAPI service"),
    )
    found = [(name, minimum, f"{minimum:g} times the throughput {whose}") for name, minimum, whose in least]
    found.append((FASTAPI_BATCHING, NO_SLOWER, "no slower than the FastAPI service with micro-batching"))
    processes = [name for name in (PROCESS, PROCESS_BATCHES) if name in compared.paths]
    if processes:
        best = max(processes, key=lambda name: median(compared.paths[name].clips_per_second))
        aim = f"{MIN_RATIO_TO_PROCESS:.0%} of the best without a server ({best})"
        found.append((best, MIN_RATIO_TO_PROCESS, aim))
    return found


def _latency_targets(compared: CompareResult, aims: Aims) -> Iterator[Target]:
    latency = compared.paths[REFERENCE].latency
    if aims.clip_ms is not None and latency is not None:
        aim = f"under {aims.clip_ms:g} ms for a clip of one caller, median"
        is_met = latency.median_ms < aims.clip_ms
        bottleneck = "" if is_met else "`bench stages` says which step takes it"
        yield Target(aim, f"{latency.median_ms:.0f} ms", is_met, bottleneck)


def _network_limit(roofline: RooflineResult | None, other_clips_per_second: float) -> str:
    """Say what throughput the three networks leave possible at the machine's measured limit."""
    if roofline is None or not roofline.graphs:
        return "`bench limit` says what the machine allows"
    name, graph = max(roofline.graphs.items(), key=lambda item: item[1].measured_ms)
    limit_ms = sum(graph.limit_ms for graph in roofline.graphs.values())
    return (
        f"{name}, {graph.measured_ms:.0f} ms, {graph.share_of_limit:.0%} of the limit; with all "
        f"networks at the limit ({limit_ms:.0f} ms a clip) "
        f"{1000 / limit_ms / other_clips_per_second:.1f} times"
    )


def _overhead_target(stages: StagesResult) -> Target:
    share = stages.not_networks_share
    others = {name: value for name, value in stages.median_ms.items() if name not in NETWORKS}
    name = max(others, key=lambda stage: others[stage])
    largest = f"{name}, {others[name]:.1f} ms of {stages.total_ms:.1f}"
    is_met = share < MAX_OVERHEAD
    aim = f"under {MAX_OVERHEAD:.0%} of a clip's time outside of the networks"
    return Target(aim, f"{share:.0%}", is_met, "" if is_met else largest)


def _roofline_targets(roofline: RooflineResult) -> Iterator[Target]:
    for name, graph in roofline.graphs.items():
        is_met = graph.share_of_limit >= MIN_SHARE_OF_LIMIT
        slower = f"{graph.measured_ms:.1f} ms, at the limit {graph.limit_ms:.1f} ms ({graph.bound_by})"
        yield Target(
            aim=f"{name} at {MIN_SHARE_OF_LIMIT:.0%} of the machine's limit or more",
            measured=f"{graph.share_of_limit:.0%}",
            is_met=is_met,
            bottleneck="" if is_met else slower,
        )

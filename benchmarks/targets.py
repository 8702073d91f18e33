"""What the server shall reach, what it does, and what holds it where it does not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

from deepfake_triton.benchmarks.names import (
    FASTAPI,
    FASTAPI_BATCHING,
    PROCESS,
    PROCESS_BATCHES,
    PUBLISHED,
    TORCH,
)

Results = Mapping[str, Mapping[str, Any]]

_THROUGHPUTS = (
    (PUBLISHED, 40.0, "of the published pipeline"),
    (TORCH, 4.0, "of torch eager with the same networks"),
    (FASTAPI, 1.5, "of the plain FastAPI service"),
)
_MOST_OVERHEAD, _LEAST_OF_LIMIT, _LEAST_OF_PROCESS, _NO_SLOWER = 0.30, 0.50, 0.90, 0.95


@dataclass(frozen=True)
class Target:
    """One aim: `found` is a figure with its interval, as text; `met` is None where that interval decides
    nothing; `holds` says why it is missed."""

    aim: str
    found: str
    met: bool | None
    holds: str = ""


def targets(results: Results) -> list[Target]:
    """As far as `results`, the benchmarks by name, tell: for 2 cores, 720p and 20 frames.

    A throughput is reached where the low end of its interval is.
    """
    found: list[Target] = []
    if "compare" in results:
        found += _throughputs(results)
    if "stages" in results:
        share = results["stages"]["not_networks_share"]
        met = share < _MOST_OVERHEAD
        aim = f"under {_MOST_OVERHEAD:.0%} of a clip's time outside of the networks"
        found.append(Target(aim, f"{share:.0%}", met, "" if met else _largest_overhead(results["stages"])))
    for name, graph in results.get("limit", {}).get("graphs", {}).items():
        share = graph["share_of_limit"]
        held = f"{graph['measured_ms']:.1f} ms, at the limit {graph['limit_ms']:.1f} ms ({graph['bound_by']})"
        met = share >= _LEAST_OF_LIMIT
        aim = f"{name} at {_LEAST_OF_LIMIT:.0%} of the machine's limit or more"
        found.append(Target(aim, f"{share:.0%}", met, "" if met else held))
    return found


def _throughputs(results: Results) -> list[Target]:
    compared = results["compare"]
    paths, callers = compared["paths"], compared["callers"]
    aims = [(name, least, f"{least:g} times the throughput {whose}") for name, least, whose in _THROUGHPUTS]
    aims.append((FASTAPI_BATCHING, _NO_SLOWER, "no slower than the FastAPI service with micro-batching"))
    processes = [name for name in (PROCESS, PROCESS_BATCHES) if name in paths]
    if processes:
        best = max(processes, key=lambda name: median(paths[name]["throughput_a_second"]))
        aims.append(
            (best, _LEAST_OF_PROCESS, f"{_LEAST_OF_PROCESS:.0%} of the best without a server ({best})")
        )
    found = []
    for name, least, aim in aims:
        ratio = paths.get(name, {}).get("reference_throughput")
        if ratio is None:
            continue
        met = True if ratio["low"] >= least else False if ratio["high"] < least else None
        own = median(paths[name]["throughput_a_second"])
        at_once = f"{callers} callers" + (
            f" against {paths[name]['callers']}" if paths[name]["callers"] != callers else ""
        )
        found.append(Target(f"{aim}, {at_once}", ratio["text"], met, "" if met else _networks(results, own)))
    return found


def _networks(results: Results, other_a_second: float) -> str:
    """What the three networks leave possible at the machine's measured limit."""
    graphs = results.get("limit", {}).get("graphs")
    if not graphs:
        return "`bench limit` says what the machine allows"
    heaviest = max(graphs, key=lambda name: float(graphs[name]["measured_ms"]))
    limit_ms = sum(graph["limit_ms"] for graph in graphs.values())
    graph = graphs[heaviest]
    return (
        f"{heaviest}, {graph['measured_ms']:.0f} ms, {graph['share_of_limit']:.0%} of the limit; with all "
        f"networks at the limit ({limit_ms:.0f} ms a clip) {1000 / limit_ms / other_a_second:.1f} times"
    )


def _largest_overhead(stages: Mapping[str, Any]) -> str:
    networks = ("face_detector", "feature_extractor", "sequence_classifier")
    others = {name: value for name, value in stages["median_ms"].items() if name not in networks}
    name = max(others, key=lambda each: float(others[each]))
    return f"{name}, {others[name]:.1f} ms of {stages['total_ms']:.1f}"

"""`bench limit`: each graph against the machine's limit, by the roofline model."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepfake_triton.benchmarks.measure.roofline import GraphCost, MachineRates
from deepfake_triton.benchmarks.measure.timing import Timing, interleave
from deepfake_triton.benchmarks.suite.benchmark import BLUE, GRAY, Benchmark, markdown_table
from deepfake_triton.console.progress import track_progress
from deepfake_triton.json_object import JsonObject

if TYPE_CHECKING:
    from deepfake_triton.models.runtimes.base import Feed

_ROUNDS, _WARM_UP = 9, 2


@dataclass(frozen=True)
class GraphResult:
    """One graph: its cost, its measured time, and the least time that the machine allows."""

    precision: str
    runtime: str
    giga_operations: float
    weight_mb: float
    activation_mb: float
    measured_ms: float
    limit_ms: float
    bound_by: str
    """`compute` or `memory`."""
    share_of_limit: float
    """`limit_ms` over `measured_ms`."""
    timing: Timing

    @classmethod
    def from_measurement(
        cls, timing: Timing, cost: GraphCost, rates: MachineRates, *, precision: str, runtime: str
    ) -> GraphResult:
        """Compare a measured time with the machine's limit."""
        compute_ms, memory_ms = rates.compute_ms(cost, precision), rates.memory_ms(cost)
        limit_ms = max(compute_ms, memory_ms)
        return cls(
            precision=precision,
            runtime=runtime,
            giga_operations=round(cost.operations / 1e9, 3),
            weight_mb=round(cost.weight_bytes / 1e6, 2),
            activation_mb=round(cost.activation_bytes / 1e6, 2),
            measured_ms=timing.median_ms,
            limit_ms=round(limit_ms, 3),
            bound_by="compute" if compute_ms > memory_ms else "memory",
            share_of_limit=round(limit_ms / timing.median_ms, 3),
            timing=timing,
        )

    def to_json(self) -> JsonObject:
        """Return the JSON form."""
        return {
            "precision": self.precision,
            "runtime": self.runtime,
            "giga_operations": self.giga_operations,
            "weight_mb": self.weight_mb,
            "map_mb": self.activation_mb,
            "measured_ms": self.measured_ms,
            "limit_ms": self.limit_ms,
            "bound_by": self.bound_by,
            "share_of_limit": self.share_of_limit,
            "samples": self.timing.to_json(),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> GraphResult:
        """Read the JSON form."""
        return cls(
            precision=data["precision"],
            runtime=data["runtime"],
            giga_operations=data["giga_operations"],
            weight_mb=data["weight_mb"],
            activation_mb=data["map_mb"],
            measured_ms=data["measured_ms"],
            limit_ms=data["limit_ms"],
            bound_by=data["bound_by"],
            share_of_limit=data["share_of_limit"],
            timing=Timing.from_json(data["samples"]),
        )


@dataclass(frozen=True)
class RooflineResult:
    """The machine's measured rates, and each graph by its name."""

    giga_operations_per_second: Mapping[str, float]
    """Measured rate of matrix products, by precision."""
    gigabytes_per_second: float
    graphs: Mapping[str, GraphResult]

    def to_json(self) -> JsonObject:
        """Return the JSON form."""
        return {
            "giga_operations_a_second": dict(self.giga_operations_per_second),
            "gigabytes_a_second": self.gigabytes_per_second,
            "graphs": {name: graph.to_json() for name, graph in self.graphs.items()},
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> RooflineResult:
        """Read the JSON form."""
        return cls(
            giga_operations_per_second=data["giga_operations_a_second"],
            gigabytes_per_second=data["gigabytes_a_second"],
            graphs={name: GraphResult.from_json(graph) for name, graph in data["graphs"].items()},
        )

    def table(self) -> list[str]:
        """Return the lines of a Markdown table."""
        rates = ", ".join(
            f"{value} billion operations/s in {name}"
            for name, value in self.giga_operations_per_second.items()
        )
        head = ["graph", "precision", "10⁹ operations", "weights MB", "measured ms", "limit ms"]
        head += ["bound by", "of the limit"]
        rows = [
            [
                *(name, graph.precision, graph.giga_operations, graph.weight_mb, graph.measured_ms),
                *(graph.limit_ms, graph.bound_by, f"{graph.share_of_limit:.0%}"),
            ]
            for name, graph in self.graphs.items()
        ]
        return [f"{rates}; {self.gigabytes_per_second} GB/s.", "", *markdown_table(head, rows)]

    def plot(self, figure: Any) -> None:
        """Draw each graph's share of the limit."""
        axis = figure.subplots()
        shares = {name: 100 * graph.share_of_limit for name, graph in self.graphs.items()}
        axis.barh(list(shares)[::-1], list(shares.values())[::-1], color=BLUE)
        axis.axvline(100, color=GRAY, linestyle="--")
        axis.set(xlabel="% of the machine's measured limit", title="how far each graph is from the limit")


def run(args: argparse.Namespace) -> RooflineResult:
    """Measure the machine, then every graph of the served version on one clip of 20 frames with one face."""
    import onnx

    from deepfake_triton.benchmarks.baselines.repositories import served_graph, served_runner
    from deepfake_triton.benchmarks.measure.graph_cost import graph_cost
    from deepfake_triton.benchmarks.measure.machine_rates import measure_machine_rates
    from deepfake_triton.models.graph_partition import precision_of

    rates = measure_machine_rates()
    graphs = {}
    for name, feed in track_progress(_feeds(args.repository).items(), "limits", "graphs"):
        model = onnx.load(served_graph(args.repository, name))
        runner = served_runner(args.repository, name)
        timing = interleave({name: partial(runner.infer, feed)}, rounds=_ROUNDS, warm_up=_WARM_UP)[name]
        graphs[name] = GraphResult.from_measurement(
            timing, graph_cost(model, feed), rates, precision=precision_of(model), runtime=runner.runtime
        )
    per_second = {name: round(value / 1e9, 1) for name, value in rates.operations_per_second.items()}
    return RooflineResult(per_second, round(rates.bytes_per_second / 1e9, 1), graphs)


BENCHMARK = Benchmark(run, RooflineResult.from_json)


def _feeds(repository: Path) -> dict[str, Feed]:
    """Return inputs of a typical clip by model."""
    from deepfake_triton.export.repository.configs import config_from_text
    from deepfake_triton.models.runtimes.latency import typical_inputs
    from deepfake_triton.models.stages import MODEL_NAMES
    from deepfake_triton.repository.files import CONFIG_NAME

    extractor = config_from_text((repository / MODEL_NAMES.extractor / CONFIG_NAME).read_text())
    return typical_inputs(crop_side=int(extractor.input[0].dims[1])).by_model()

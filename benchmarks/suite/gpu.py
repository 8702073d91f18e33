"""`bench gpu`: the three networks on one device, by runtime, precision and batch size."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from deepfake_triton.benchmarks.measure.batch_sizes import (
    Row,
    TimedRow,
    measure_network,
    row_from_json,
)
from deepfake_triton.benchmarks.options import PRECISIONS, RUNTIMES
from deepfake_triton.benchmarks.suite.benchmark import Benchmark, markdown_table
from deepfake_triton.errors import InputError
from deepfake_triton.json_object import JsonObject


@dataclass(frozen=True)
class GpuResult:
    """Rows of each network, and the device that they were measured on."""

    device: str
    batches: tuple[int, ...]
    networks: Mapping[str, tuple[Row, ...]]

    def to_json(self) -> JsonObject:
        """Return the JSON form."""
        return {
            "device": self.device,
            "batches": list(self.batches),
            "networks": {name: [row.to_json() for row in rows] for name, rows in self.networks.items()},
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> GpuResult:
        """Read the JSON form."""
        return cls(
            device=data["device"],
            batches=tuple(data["batches"]),
            networks={name: tuple(map(row_from_json, rows)) for name, rows in data["networks"].items()},
        )

    def table(self) -> list[str]:
        """Return the lines of a Markdown table for each network, and the reasons for what has no times."""
        lines = [f"On {self.device}, from array to array with the copies between; rows/s."]
        head = ["runtime", "precision", *(f"batch {batch}" for batch in self.batches)]
        for name, rows in self.networks.items():
            cells: dict[tuple[str, str], dict[int, str]] = {}
            reasons: dict[str, None] = {}
            for row in rows:
                by_batch = cells.setdefault((row.runtime, row.precision), {})
                if isinstance(row, TimedRow):
                    by_batch[row.batch] = f"{row.rows_per_second:.0f}"
                else:
                    reasons[f"{row.runtime}, {row.precision}: {row.reason}"] = None
            table = [
                [*key, *(by_batch.get(batch, "–") for batch in self.batches)]
                for key, by_batch in cells.items()
            ]
            lines += ["", f"## {name}", "", *markdown_table(head, table)]
            lines += ["", *(f"- {reason}" for reason in reasons)] if reasons else []
        return lines

    def plot(self, figure: Any) -> None:
        """Draw rows per second against the batch size for each network; FP16 dashed."""
        axes = figure.subplots(1, len(self.networks), squeeze=False)[0]
        for axis, (name, rows) in zip(axes, self.networks.items(), strict=True):
            _plot_network(axis, name, [row for row in rows if isinstance(row, TimedRow)])
        axes[0].set_ylabel("rows/s")
        axes[0].legend(fontsize=7)


def _plot_network(axis: Any, name: str, rows: Sequence[TimedRow]) -> None:
    lines: dict[tuple[str, str], list[tuple[int, float]]] = {}
    for row in rows:
        lines.setdefault((row.runtime, row.precision), []).append((row.batch, row.rows_per_second))
    colors: dict[str, str] = {}
    for (runtime, precision), points in lines.items():
        color = colors.setdefault(runtime, f"C{len(colors)}")
        style = "--" if precision == "fp16" else "-"
        label = f"{runtime}, {precision}"
        axis.plot(*zip(*points, strict=True), style, color=color, marker=".", label=label)
    axis.set(xlabel="batch", title=name, xscale="log", yscale="log")


def run(args: argparse.Namespace) -> GpuResult:
    """Time the networks under each runtime. Raises InputError without the device, and for unknown names."""
    import torch

    from deepfake_triton.benchmarks.measure.device_runtimes import (
        TorchModule,
        allow_tf32,
        runner_factories,
        torch_device_name,
    )
    from deepfake_triton.benchmarks.measure.networks import load_networks

    if args.device == "cuda" and not torch.cuda.is_available():
        raise InputError("no GPU that torch can use is here; --device cpu runs the same on the CPU")
    _require_known(args.runtimes, RUNTIMES)
    _require_known(args.precisions, PRECISIONS)
    allow_tf32()
    factories = runner_factories(args.device, max(args.batches))
    networks = {}
    for network in load_networks(args.repository, args.checkpoint, args.video):
        reference = TorchModule(network, args.device, "fp32", compiled=False)
        networks[network.name] = tuple(
            measure_network(
                network,
                reference,
                {name: factories[name] for name in args.runtimes},
                precisions=args.precisions,
                batches=args.batches,
                rounds=args.rounds,
            )
        )
    return GpuResult(torch_device_name(args.device), tuple(args.batches), networks)


BENCHMARK = Benchmark(run, GpuResult.from_json)


def _require_known(names: Sequence[str], known: Sequence[str]) -> None:
    if unknown := [name for name in names if name not in known]:
        raise InputError(f"got {', '.join(unknown)}, expected some of {', '.join(known)}")

"""Tables of the lines that `gpu_day serve` and `gpu_day networks` wrote, one file a run."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepfake_triton.benchmarks.measure.environment import Environment
from deepfake_triton.benchmarks.suite.benchmark import markdown_table
from deepfake_triton.errors import InputError
from deepfake_triton.models.stages import MODEL_NAMES

_START = ["run", "ready after s", "first request, ms", "fifth, ms", "differs from the CPU by"]
_LOAD = [
    *("run", "transport", "callers", "clips/s", "faces/s", "p50 ms", "p95 ms", "p99 ms", "GPU busy"),
    "server's CPU, ms a clip",
]
_NETWORKS = [
    *(
        "runtime",
        "precision",
        "frames",
        "detector, ms",
        "extractor, ms",
        "classifier, ms",
        "back to back, ms",
    ),
    "faces/s",
]


@dataclass(frozen=True)
class _Run:
    """The figures of one file, and the environment that they were measured in."""

    label: str
    environment: Environment
    figures: Sequence[Mapping[str, Any]]

    def of(self, what: str) -> list[Mapping[str, Any]]:
        """Return the figures of one kind, in the order measured."""
        return [figure for figure in self.figures if figure["what"] == what]


def gpu_day_tables(folder: Path) -> list[str]:
    """Return Markdown lines for all runs in a folder. Raises InputError for a file that holds none."""
    runs = [_read_run(path) for path in sorted(folder.glob("*.jsonl"))]
    newest = max(runs, key=lambda run: run.environment.time or "")
    lines = [newest.environment.summary]
    for head, rows in (
        (_START, [row for run in runs for row in _start_rows(run)]),
        (_LOAD, [_load_row(run, point) for run in runs for point in run.of("load") if "p50_ms" in point]),
        (_NETWORKS, [row for run in runs for row in _network_rows(run)]),
    ):
        lines += ["", *markdown_table(head, rows)] if rows else []
    return lines


def _read_run(path: Path) -> _Run:
    try:
        figures = [json.loads(line) for line in path.read_text().splitlines()]
        environment = next(figure for figure in figures if figure["what"] == "environment")
        label = environment.get("label") or environment["repository"]
        return _Run(label, Environment.from_json(environment), figures)
    except (ValueError, KeyError, TypeError, StopIteration) as error:
        raise InputError(f"{path}: not what `gpu_day` wrote: {error!r}") from error


def _start_rows(run: _Run) -> list[list[str]]:
    return [
        [
            run.label,
            f"{started['seconds']:.0f}",
            f"{parity['first_requests_ms'][0]:.0f}",
            f"{parity['first_requests_ms'][-1]:.0f}",
            f"{max(parity['worst_difference']):.4f}",
        ]
        for started, parity in zip(run.of("started"), run.of("parity"), strict=True)
    ]


def _load_row(run: _Run, point: Mapping[str, Any]) -> list[str]:
    frames: int = point["frames"]
    clips = sum(int(size) * count for size, count in point["batches"][MODEL_NAMES.detector].items()) / frames
    busy = (point.get("gpu") or {}).get("busy_percent")
    return [
        run.label,
        point["transport"],
        str(point["callers"]),
        f"{point['throughput_a_second']:.1f}",
        f"{frames * point['throughput_a_second']:.0f}",
        *(f"{point[key]:.0f}" for key in ("p50_ms", "p95_ms", "p99_ms")),
        "–" if busy is None else f"{busy:.0f} %",
        f"{1000 * point['usage']['server']['cpu_s'] / clips:.0f}",
    ]


def _network_rows(run: _Run) -> list[list[str]]:
    """Return a row for each runtime, precision and number of frames, its networks side by side."""
    cells: dict[tuple[str, str, int], dict[str, float]] = {}
    frames = 0
    for figure in run.of("network"):
        if figure["network"] == MODEL_NAMES.detector:
            frames = figure["rows"]
        timed = cells.setdefault((figure["runtime"], figure["precision"], frames), {})
        if figure.get("passed"):
            timed[figure["network"]] = figure["median_ms"]
    rows = []
    for (runtime, precision, count), timed in cells.items():
        whole = sum(timed.values()) if len(timed) == len(tuple(MODEL_NAMES)) else None
        rows.append(
            [
                *(runtime, precision.upper(), str(count)),
                *(f"{timed[name]:.2f}" if name in timed else "–" for name in MODEL_NAMES),
                "–" if whole is None else f"{whole:.2f}",
                "–" if whole is None else f"{1000 * count / whole:.0f}",
            ]
        )
    return rows

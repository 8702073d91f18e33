"""Load figures with chosen numbers."""

from __future__ import annotations

import json
from typing import Any

from deepfake_triton.benchmarks.measure.environment import Environment
from deepfake_triton.capacity.load_figures import LoadFigures, LoadPoint

GPU = "NVIDIA L4, 23034 MiB, driver 580.1"


def environment(gpu: str | None = None, cores: int = 8) -> Environment:
    return Environment(
        cpu="AMD EPYC",
        cores=cores,
        instructions=("avx2",),
        memory_gib=16.0,
        load_average=(0.1, 0.1, 0.1),
        system="Linux",
        python="3.11.7",
        versions={"deepfake-triton": "0.1.0"},
        commit="0123456789ab",
        gpu=gpu,
    )


def closed(callers: int, rate: float, p50_ms: float, *, p99_ms: float, failed: int = 0) -> LoadPoint:
    return LoadPoint(rate, p50_ms, p99_ms, failed, callers)


def steady(rate: float, p50_ms: float, *, p99_ms: float, failed: int = 0) -> LoadPoint:
    return LoadPoint(rate, p50_ms, p99_ms, failed, None, rate)


def figures(*points: LoadPoint, transport: str = "grpc", gpu: str | None = GPU) -> LoadFigures:
    return LoadFigures("load.json", transport, environment(gpu), points, frames=20)


def load_report(**changes: Any) -> dict[str, Any]:
    """The JSON of a `bench load` with one closed and one open point; `changes` replace keys."""
    point = {
        "callers": 1,
        "throughput_a_second": 10.0,
        "p50_ms": 90.0,
        "p95_ms": 100.0,
        "p99_ms": 120.0,
        "refused": 0,
        "batches": {"face_detector": {"16": 30}},
        "usage": {},
        "samples_ms": [],
        "warm_up_ms": [],
    }
    offered = {
        "rate_a_second": 8.0,
        "goodput_a_second": 7.9,
        "p50_ms": 95.0,
        "p95_ms": 120.0,
        "p99_ms": 150.0,
        "outcomes": {"answered": 79},
        "samples_ms": [],
    }
    return {
        "benchmark": "load",
        "schema_version": 1,
        "environment": environment().to_json(),
        "transport": "grpc",
        "peak_a_second": 10.0,
        "closed_loop": [point],
        "open_loop": [offered],
        **changes,
    }


def as_text(data: object) -> str:
    return json.dumps(data)

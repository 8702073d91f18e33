from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from deepfake_triton.benchmarks.measure.environment import read_environment
from deepfake_triton.benchmarks.report.gpu_day_tables import gpu_day_tables
from deepfake_triton.errors import InputError

pytestmark = pytest.mark.fast


def write_run(path: Path, *figures: dict[str, Any], **environment: Any) -> None:
    first = {"what": "environment", "repository": path.stem, **read_environment().to_json(), **environment}
    path.write_text("".join(json.dumps(line) + "\n" for line in (first, *figures)))


def load(**changes: Any) -> dict[str, Any]:
    return {
        **{"what": "load", "transport": "grpc", "frames": 20, "callers": 8, "throughput_a_second": 40.0},
        **{"p50_ms": 100.4, "p95_ms": 150.0, "p99_ms": 160.6, "refused": 0},
        "batches": {"face_detector": {"20": 30, "40": 25}},
        "usage": {"server": {"cpu_s": 4.0, "memory_mib": 1.0}},
        **changes,
    }


def network(name: str, median_ms: float, *, rows: int, **changes: Any) -> dict[str, Any]:
    figure = {"what": "network", "network": name, "runtime": "ONNX Runtime", "precision": "fp16"}
    return {**figure, "rows": rows, "passed": True, "median_ms": median_ms, **changes}


def test_figures_of_all_runs_stand_in_one_table_a_kind(tmp_path: Path) -> None:
    gpu = {"busy_percent": 36.0, "memory_mib": 1.0, "power_watts": 1.0}
    parity = {"what": "parity", "first_requests_ms": [210.4, 90, 60.6], "worst_difference": [0.001, 0.0025]}
    write_run(
        tmp_path / "fp16.jsonl", {"what": "started", "seconds": 18.2}, parity, load(gpu=gpu), label="one"
    )
    write_run(tmp_path / "other.jsonl", load(callers=1), {"what": "load", "reason": "lost", "callers": 2})
    text = "\n".join(gpu_day_tables(tmp_path))
    assert "| one | 18 | 210 | 61 | 0.0025 |" in text
    assert "| one | grpc | 8 | 40.0 | 800 | 100 | 150 | 161 | 36 % | 50 |" in text
    assert "| other | grpc | 1 | 40.0 | 800 | 100 | 150 | 161 | – | 50 |" in text and "lost" not in text
    assert "| runtime |" not in text, "no table without rows"


def test_networks_stand_side_by_side_and_only_all_three_have_a_sum(tmp_path: Path) -> None:
    write_run(
        tmp_path / "networks.jsonl",
        network("face_detector", 2.0, rows=20),
        network("feature_extractor", 1.5, rows=20),
        network("sequence_classifier", 0.5, rows=1),
        network("face_detector", 5.0, rows=60),
        network("feature_extractor", 1.0, rows=60, passed=False),
        network("sequence_classifier", 1.0, rows=3),
    )
    lines = gpu_day_tables(tmp_path)
    assert lines[-2:] == [
        "| ONNX Runtime | FP16 | 20 | 2.00 | 1.50 | 0.50 | 4.00 | 5000 |",
        "| ONNX Runtime | FP16 | 60 | 5.00 | – | 1.00 | – | – |",
    ]


def test_a_file_of_something_else_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"what": "load"}\n')
    with pytest.raises(InputError, match=r"a\.jsonl: not what `gpu_day` wrote"):
        gpu_day_tables(tmp_path)

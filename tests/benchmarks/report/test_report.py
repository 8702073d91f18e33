"""Stored results: read as they were written, and rendered as they were."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from paths import ROOT

from deepfake_triton.benchmarks.measure.batch_sizes import TimedRow, UntimedRow
from deepfake_triton.benchmarks.measure.timing import Timing
from deepfake_triton.benchmarks.report.report import Report, read_reports, write_report
from deepfake_triton.benchmarks.suite.benchmark import SCHEMA_VERSION
from deepfake_triton.benchmarks.suite.gpu import GpuResult
from deepfake_triton.errors import InputError

pytestmark = pytest.mark.fast

STORED = sorted((ROOT / "benchmarks/results").rglob("*.json"))


def load(path: Path) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(path.read_text())
    return data


@pytest.mark.parametrize("path", STORED, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_stored_results_are_read_as_written_and_rendered_as_before(path: Path, tmp_path: Path) -> None:
    data = load(path)
    report = Report.from_json(data)
    assert {**data, "schema_version": SCHEMA_VERSION} == report.to_json()
    assert list(data) == [key for key in report.to_json() if key in data], "in the same order"
    assert report.markdown() == path.with_suffix(".md").read_text()
    report.save_plot(tmp_path / "plot.svg")
    assert (tmp_path / "plot.svg").read_text().lstrip().startswith("<?xml")


def test_there_is_a_stored_result_of_each_benchmark_for_cpus() -> None:
    assert {path.stem for path in STORED} >= {"stages", "load", "compare", "limit"}


def test_a_gpus_result_survives_the_file(tmp_path: Path) -> None:
    timing = Timing.from_values("torch eager", [1.0, 2.0, 4.0], [9.0])
    rows = (
        TimedRow("torch eager", "fp32", 2, 0.0, 1000.0, timing),
        UntimedRow("TensorRT-RTX", "fp32", "no GPU here"),
        UntimedRow("ONNX Runtime", "fp32", "answers differ", 2),
    )
    environment = Report.from_json(load(STORED[0])).environment
    report = Report("gpu", environment, GpuResult("GPU 1", (2, 4), {"face_detector": rows}))
    write_report(report, tmp_path)
    assert read_reports(tmp_path) == {"gpu": report}
    lines = (tmp_path / "gpu.md").read_text().splitlines()
    assert "| torch eager | fp32 | 1000 | – |" in lines and "- TensorRT-RTX, fp32: no GPU here" in lines
    assert (tmp_path / "targets.md").is_file()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"schema_version": SCHEMA_VERSION + 1}, f"expected at most {SCHEMA_VERSION}"),
        ({"benchmark": "abacus"}, "'abacus' is missing or unknown"),
        ({"environment": {}}, "'cpu' is missing"),
    ],
)
def test_what_is_no_report_is_refused_with_its_file(
    change: Mapping[str, Any], says: str, tmp_path: Path
) -> None:
    (tmp_path / "stages.json").write_text(json.dumps({**load(STORED[-1]), **change}))
    with pytest.raises(InputError, match=f"stages.json: .*{says}"):
        read_reports(tmp_path)


def test_results_of_another_machine_are_left_out(tmp_path: Path) -> None:
    for path, cores, time in ((STORED[0], 64, "2024-01-01T00:00:00+00:00"), (STORED[-1], 2, "2025")):
        data = load(path)
        data["environment"] |= {"cores": cores, "time": time}
        (tmp_path / path.name).write_text(json.dumps(data))
    assert list(read_reports(tmp_path)) == [STORED[-1].stem]

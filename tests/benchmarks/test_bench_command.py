"""The four benchmarks by their command, in short: figures that add up, and answers that agree first."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from deepfake_triton import cli
from deepfake_triton.benchmarks.compare import measured
from deepfake_triton.benchmarks.contenders import Contender
from deepfake_triton.benchmarks.names import FASTAPI, FASTAPI_BATCHING, REFERENCE, TORCH
from deepfake_triton.benchmarks.report import markdown
from deepfake_triton.benchmarks.samples import Samples
from deepfake_triton.benchmarks.stages import STAGES
from deepfake_triton.serving.server import ServerOptions, TritonServer


@pytest.fixture(scope="module")
def repository(default_repository: Path) -> Path:
    return default_repository


def bench(name: str, repository: Path, output: Path, *options: str) -> dict[str, Any]:
    assert cli.main(["bench", name, str(repository), "--output", str(output), *options]) == 0
    result: dict[str, Any] = json.loads((output / f"{name}.json").read_text())
    assert result["environment"]["cores"] >= 1 and result["environment"]["versions"]["numpy"]
    assert (output / f"{name}.svg").read_text().lstrip().startswith("<?xml")
    assert (output / f"{name}.md").read_text() == markdown(name, result)
    return result


def test_stages_add_up(repository: Path, tmp_path: Path) -> None:
    result = bench("stages", repository, tmp_path, "--rounds", "6")
    assert set(result["median_ms"]) == set(STAGES) and len(result["samples"]) == 6
    assert all(value > 0 for stage, value in result["median_ms"].items() if stage != "between steps")
    assert result["unexplained_share"] < 0.25, "0.1 where nobody else is at work"
    assert result["median_ms"]["feature_extractor"] > result["median_ms"]["face_tracker"]


def test_load_has_a_point_for_each_number_of_callers_and_each_rate(repository: Path, tmp_path: Path) -> None:
    options = ["--seconds", "3", "--callers", "1,4", "--shares", "0.5"]
    result = bench("load", repository, tmp_path, *options)
    assert [each["callers"] for each in result["closed_loop"]] == [1, 4]
    for each in result["closed_loop"]:
        assert each["throughput_a_second"] > 0 and each["p50_ms"] <= each["p95_ms"] <= each["p99_ms"]
        assert each["usage"]["server"]["memory_mib"] > 50 and each["usage"]["server"]["cpu_s"] > 0
        frames = sum(int(size) * count for size, count in each["batches"]["face_detector"].items())
        assert frames == 20 * len(each["samples_ms"])
    (rate,) = result["open_loop"]
    assert rate["outcomes"].get("answered", 0) >= 1


def test_limits_are_not_exceeded(repository: Path, tmp_path: Path) -> None:
    result = bench("limit", repository, tmp_path)
    assert set(result["graphs"]) == {"face_detector", "feature_extractor", "sequence_classifier"}
    extractor = result["graphs"]["feature_extractor"]
    assert extractor["giga_operations"] == pytest.approx(20 * 2.15, rel=0.1), "ResNeXt-50 at 112 px"
    assert all(0 < each["share_of_limit"] < 1.3 for each in result["graphs"].values())


def test_what_is_compared_gives_the_same_verdict_first(repository: Path, tmp_path: Path) -> None:
    options = ["--rounds", "2", "--seconds", "0.1", "--callers", "1", "--no-published"]
    with TritonServer(ServerOptions(repository, grpc_port=0, http_port=0, metrics_port=0)) as other:
        options += ["--also", str(repository), "--also-server", f"elsewhere={other.url}"]
        result = bench("compare", repository, tmp_path, *options)
    paths = result["paths"]
    assert len(paths) == 13 and all(each["same_verdict"] for each in paths.values())
    assert {"this server, FP32, OpenVINO", "elsewhere"} < set(paths)
    exact = [each["probability"] for name, each in paths.items() if "JPEG" not in name]
    assert max(exact) - min(exact) < 0.002
    for name in (TORCH, FASTAPI, FASTAPI_BATCHING):
        assert paths[name]["reference_is_faster"]["text"] and paths[name]["reference_throughput"]["text"]
    assert "times the throughput of the plain FastAPI" in (tmp_path / "targets.md").read_text()


def test_a_path_that_answers_otherwise_gets_no_ratio() -> None:
    path = Contender("other", lambda _: 0.9)
    latency = {name: Samples(name, (10.0,) * 4) for name in (REFERENCE, "other")}
    throughput = {name: [2.0] * 4 for name in (REFERENCE, "other")}
    assert set(measured(path, False, latency, throughput)) == {"latency", "throughput_a_second"}
    assert "reference_throughput" in measured(path, True, latency, throughput)

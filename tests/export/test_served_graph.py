"""One served network: its files, its section of the report, and where its engines run."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from deepfake_triton.export import runners
from deepfake_triton.export.served_graph import BuiltEngine, ServedGraph
from deepfake_triton.models.stages import Stages
from deepfake_triton.repository.engine_record import (
    EngineBuilder,
    EngineRecord,
    EngineTensor,
    write_engine_record,
)
from deepfake_triton.repository.report_sections import ModelReport

pytestmark = pytest.mark.fast

TENSOR = EngineTensor("x", "float32", (-1, 4))


@pytest.fixture
def graph(tmp_path: Path) -> ServedGraph:
    """A network with engines for two compute capabilities, whose files are a few letters."""
    onnx = tmp_path / "detector.onnx"
    onnx.write_text("graph")
    built = []
    for capability in ("8.0", "8.9"):
        path = tmp_path / f"detector.sm{capability}.plan"
        path.write_text(capability)
        record = EngineRecord(
            inputs=(TENSOR,),
            outputs=(TENSOR,),
            profiles={},
            precision="fp16",
            compute_capability=capability,
            builder=EngineBuilder("tensorrt-rtx", "1"),
            onnx_sha256="",
            sha256=hashlib.sha256(capability.encode()).hexdigest(),
        )
        write_engine_record(path, record)
        built.append(BuiltEngine(path, record))
    return ServedGraph(onnx, "fp16", engines=tuple(built))


def test_a_version_holds_the_graph_and_every_engine_with_its_record(graph: ServedGraph) -> None:
    assert graph.engine_files == {"8.0": "model_sm80.plan", "8.9": "model_sm89.plan"}
    assert list(graph.files) == [
        *("model.onnx", "model_sm80.plan", "model_sm80.plan.json", "model_sm89.plan", "model_sm89.plan.json")
    ]
    assert graph.files["model_sm89.plan"].read_text() == "8.9"
    assert graph.files["model_sm89.plan.json"].name == "detector.sm8.9.plan.json"


def test_the_report_names_what_runs_it(graph: ServedGraph) -> None:
    report = graph.report()
    assert report.runs_on == ("tensorrt-rtx",) and len(report.engines) == 2
    assert report.files["model.onnx"] == hashlib.sha256(b"graph").hexdigest()
    plain = ServedGraph(graph.onnx, "fp32").report()
    assert plain == ModelReport(
        "fp32", ("onnxruntime", "openvino", "tensorrt"), {"model.onnx": report.files["model.onnx"]}
    )


@pytest.mark.parametrize(("capability", "runs"), [(None, False), ("8.9", True), ("9.0", False)])
def test_engines_run_where_their_gpu_is(
    graph: ServedGraph, monkeypatch: pytest.MonkeyPatch, *, capability: str | None, runs: bool
) -> None:
    monkeypatch.setattr(runners, "gpu_compute_capability", lambda: capability)
    assert runners.engines_run_here(Stages(detector=graph, extractor=graph, classifier=graph)) == runs
    plain = ServedGraph(graph.onnx, "fp32")
    assert runners.engines_run_here(Stages(detector=plain, extractor=plain, classifier=plain))

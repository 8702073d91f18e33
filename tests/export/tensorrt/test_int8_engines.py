"""TensorRT engines of the graphs of a whole INT8 export, compiled for GPUs that are not here."""

from __future__ import annotations

from pathlib import Path

import pytest

from deepfake_triton.export.tensorrt.builder import EngineOptions, build_engine
from deepfake_triton.models.runtimes.tensorrt_library import load_tensorrt
from deepfake_triton.repository.engine_record import read_engine_record

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("capability", ["8.0", "8.9"])
@pytest.mark.parametrize("name", ["face_detector", "feature_extractor"])
def test_every_int8_graph_of_ours_compiles(
    *, int8_repository: Path, tmp_path: Path, name: str, capability: str
) -> None:
    """The classifier has none: TensorRT takes its FP32 or FP16 file."""
    library = load_tensorrt("tensorrt-rtx")
    graph, engine = int8_repository / name / "1" / "model.onnx", tmp_path / "model.plan"
    record = build_engine(graph, engine, library, options=EngineOptions(compute_capability=capability))
    assert record == read_engine_record(engine)
    assert (record.precision, record.compute_capability) == ("int8", capability)
    content = engine.read_bytes()
    assert all(tensor.name.encode() in content for tensor in (*record.inputs, *record.outputs))

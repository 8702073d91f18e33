"""ONNX Runtime under its execution providers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from support import written_graph

from deepfake_triton.errors import InferenceFailed, MissingDependency
from deepfake_triton.models.runtimes.onnx_runner import OnnxRunner

pytestmark = pytest.mark.fast

RELU = """
<ir_version: 8, opset_import: ["" : 17]>
m (float[N, 4] x) => (float[N, 4] y) { y = Relu (x) }
"""
VALUES = {"x": np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)}


def test_the_plain_provider_names_itself_and_its_outputs(tmp_path: Path) -> None:
    runner = OnnxRunner(written_graph(RELU, tmp_path / "m.onnx"))
    assert runner.runtime == f"ONNX Runtime {onnxruntime.__version__}, CPUExecutionProvider"
    outputs = runner.infer(VALUES)
    assert set(outputs) == {"y"}
    np.testing.assert_array_equal(outputs["y"], np.maximum(VALUES["x"], 0))
    with pytest.raises(InferenceFailed, match=r"ONNX Runtime .*: "):
        runner.infer({"x": VALUES["x"][:, :2]})


def test_openvino_answers_as_the_plain_provider(tmp_path: Path) -> None:
    runner = OnnxRunner(written_graph(RELU, tmp_path / "m.onnx"), "openvino")
    assert "OpenVINO" in runner.runtime
    np.testing.assert_array_equal(runner.infer(VALUES)["y"], np.maximum(VALUES["x"], 0))


@pytest.mark.skipif("CUDAExecutionProvider" in onnxruntime.get_available_providers(), reason="CUDA is here")
def test_a_provider_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingDependency, match=r"has no CUDAExecutionProvider.*pip install onnxruntime-gpu"):
        OnnxRunner(tmp_path / "m.onnx", "cuda")

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from support import written_graph

from deepfake_triton.contracts import FEATURES
from deepfake_triton.errors import EngineError, InferenceFailed, MissingDependency
from deepfake_triton.export.checkpoint import checkpoint_from_file
from deepfake_triton.export.onnx_graphs import classifier_onnx_from_checkpoint
from deepfake_triton.export.runners import OnnxRunner, Runner, TensorRTRunner, TorchRunner, TritonRunner
from deepfake_triton.export.tensorrt_library import gpu_compute_capability, load_tensorrt
from deepfake_triton.preprocessing.faces import TrackedFaces
from deepfake_triton.serving.server import TritonServer

RELU = """
<ir_version: 8, opset_import: ["" : 17]>
m (float[N, 4] x) => (float[N, 4] y) { y = Relu (x) }
"""


def test_torch_onnx_and_a_server_answer_alike(
    published_server: TritonServer, published_checkpoint: Path, tracked_clip: TrackedFaces, tmp_path: Path
) -> None:
    checkpoint = checkpoint_from_file(published_checkpoint)
    torch_answer = TorchRunner(checkpoint).infer({"faces": tracked_clip.faces})
    features = {FEATURES.name: torch_answer[FEATURES.name]}
    runners: list[Runner] = [
        OnnxRunner(classifier_onnx_from_checkpoint(checkpoint, tmp_path / "c.onnx")),
        TritonRunner(published_server.url, "sequence_classifier"),
    ]
    for runner in runners:
        answer = runner.infer(features)
        assert set(answer) == {"logits", "fake_probability"}
        for name in answer:
            np.testing.assert_allclose(answer[name], torch_answer[name], atol=1e-3)
    assert runners[0].runtime.startswith(f"ONNX Runtime {onnxruntime.__version__}, CPU")
    assert "Triton 2." in runners[1].runtime
    with pytest.raises(InferenceFailed, match="sequence_classifier at"):
        runners[1].infer({FEATURES.name: np.zeros((1, 2, 5), np.float32)})


@pytest.mark.skipif("CUDAExecutionProvider" in onnxruntime.get_available_providers(), reason="CUDA is here")
def test_a_provider_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingDependency, match=r"has no CUDAExecutionProvider.*pip install onnxruntime-gpu"):
        OnnxRunner(tmp_path / "m.onnx", "cuda")


@pytest.mark.skipif(gpu_compute_capability() is not None, reason="a GPU is here")
def test_an_engine_is_not_run_without_a_gpu(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="not run: there is no GPU here"):
        TensorRTRunner(tmp_path / "m.plan", load_tensorrt("tensorrt-rtx"))


def test_openvino_answers_as_the_plain_provider(tmp_path: Path) -> None:
    graph = written_graph(RELU, tmp_path / "m.onnx")
    values = {"x": np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)}
    runner = OnnxRunner(graph, "openvino")
    assert "OpenVINO" in runner.runtime
    np.testing.assert_array_equal(runner.infer(values)["y"], np.maximum(values["x"], 0))

"""The project's graphs in FP16: half the size, the same faces, almost the same probabilities."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from support import overlap, written_graph

from deepfake_triton.errors import EngineError
from deepfake_triton.models.default_checkpoint import default_checkpoint
from deepfake_triton.models.fp16 import convert_to_fp16
from deepfake_triton.models.local_pipeline import LocalPipeline
from deepfake_triton.models.onnx_export import (
    classifier_onnx_from_checkpoint,
    extractor_onnx_from_checkpoint,
    save_onnx,
)
from deepfake_triton.models.runtimes.base import Runner
from deepfake_triton.models.runtimes.onnx_runner import OnnxRunner
from deepfake_triton.models.stages import Stages
from deepfake_triton.preprocessing.crops import CropRule
from deepfake_triton.preprocessing.faces import TrackedFaces
from deepfake_triton.preprocessing.video.clip import decode_clip

pytestmark = pytest.mark.compute

QUANTIZED = """
<ir_version: 8, opset_import: ["" : 17]>
m (uint8[N, 4] x, float s, uint8 z) => (float[N, 4] y) { y = DequantizeLinear (x, s, z) }
"""


@pytest.fixture(scope="module")
def graphs(detector_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Stages[Path]:
    folder, checkpoint = tmp_path_factory.mktemp("graphs"), default_checkpoint()
    return Stages(
        detector=detector_path,
        extractor=extractor_onnx_from_checkpoint(checkpoint, folder / "extractor.onnx"),
        classifier=classifier_onnx_from_checkpoint(checkpoint, folder / "classifier.onnx"),
    )


@pytest.fixture(scope="module")
def fp16_graphs(graphs: Stages[Path], tmp_path_factory: pytest.TempPathFactory) -> Stages[Path]:
    folder = tmp_path_factory.mktemp("fp16")

    def convert(path: Path) -> Path:
        save_onnx(convert_to_fp16(onnx.load(path)), folder / path.name)
        return folder / path.name

    return graphs.map(convert)


def test_weights_halve_and_inputs_and_outputs_stay(graphs: Stages[Path], fp16_graphs: Stages[Path]) -> None:
    for path, half in zip(graphs, fp16_graphs, strict=True):
        model = onnx.load(half)
        kinds = {entry.type.tensor_type.elem_type for entry in (*model.graph.input, *model.graph.output)}
        assert kinds <= {onnx.TensorProto.FLOAT, onnx.TensorProto.UINT8}
        share = half.stat().st_size / path.stat().st_size
        assert share < 0.55 or path == graphs.classifier  # nearly all of which is an LSTM


def test_probabilities_stay_close(
    graphs: Stages[Path], fp16_graphs: Stages[Path], tracked_clip: TrackedFaces
) -> None:
    pipelines = [LocalPipeline(paths.map(OnnxRunner), CropRule()) for paths in (graphs, fp16_graphs)]
    whole, half = (pipeline.probabilities(tracked_clip) for pipeline in pipelines)
    assert 0 < np.abs(whole - half).max() < 5e-3


def test_the_same_faces_are_found(fp16_graphs: Stages[Path], detector: Runner, clip_path: Path) -> None:
    frames = {"frames": decode_clip(clip_path).frames.data}
    wanted, got = (
        runner.infer(frames)["detections"] for runner in (detector, OnnxRunner(fp16_graphs.detector))
    )
    assert wanted.shape == got.shape
    for a, b in zip(wanted, got, strict=True):
        assert abs(a[0, 4] - b[0, 4]) < 0.02 and overlap(a[0, :4], b[0, :4]) > 0.9


def test_a_quantized_graph_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="is INT8 already"):
        convert_to_fp16(onnx.load(written_graph(QUANTIZED, tmp_path / "m.onnx")))

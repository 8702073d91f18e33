from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from deepfake_triton.models.checkpoints.checkpoint import checkpoint_from_file
from deepfake_triton.models.metadata import ModelMetadata
from deepfake_triton.models.onnx_export import classifier_onnx_from_checkpoint, extractor_onnx_from_checkpoint
from deepfake_triton.models.random_weights import UNTRAINED_METADATA, untrained_checkpoint
from deepfake_triton.models.runtimes.onnx_runner import OnnxRunner
from deepfake_triton.models.runtimes.torch_runner import torch_classifier, torch_extractor
from deepfake_triton.preprocessing.faces import TrackedFaces

pytestmark = pytest.mark.compute


def shapes(path: Path) -> dict[str, list[str | int]]:
    graph = onnx.load(path, load_external_data=False).graph
    return {
        tensor.name: [dim.dim_param or dim.dim_value for dim in tensor.type.tensor_type.shape.dim]
        for tensor in (*graph.input, *graph.output)
    }


def test_a_sequence_lstm_stays_one_node(tmp_path: Path) -> None:
    path = classifier_onnx_from_checkpoint(untrained_checkpoint(UNTRAINED_METADATA), tmp_path / "c.onnx")
    model = onnx.load(path)
    assert model.ir_version == 8
    assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", 17)]
    assert Counter(node.op_type for node in model.graph.node)["LSTM"] == 1
    assert shapes(path) == {"features": ["B", "T", 2048], "logits": ["B", 2], "fake_probability": ["B", 1]}


def test_a_per_frame_classifier_has_no_dead_half(published_checkpoint: Path, tmp_path: Path) -> None:
    path = classifier_onnx_from_checkpoint(checkpoint_from_file(published_checkpoint), tmp_path / "c.onnx")
    model = onnx.load(path)
    assert not any(node.op_type in ("LSTM", "Loop", "Scan") for node in model.graph.node)
    weights = sorted(int(np.prod(tensor.dims)) for tensor in model.graph.initializer)
    assert weights[-1] == 3 * 2048 * 2048 and sum(weights[:-1]) < 20_000


def test_the_extractor_takes_bytes_straight_into_a_cast(tmp_path: Path) -> None:
    path = extractor_onnx_from_checkpoint(untrained_checkpoint(UNTRAINED_METADATA), tmp_path / "e.onnx")
    graph = onnx.load(path).graph
    assert shapes(path) == {"faces": ["B", "T", 112, 112, 3], "features": ["B", "T", 2048]}
    assert graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.UINT8
    assert {node.op_type for node in graph.node if "faces" in node.input} == {"Cast"}


@pytest.mark.parametrize("temporal", ["per-frame", "sequence"])
@pytest.mark.parametrize("pooling", ["last", "mean"])
@pytest.mark.parametrize("label_order", ["fake-real", "real-fake"])
def test_every_kind_of_classifier_answers_as_torch(
    tmp_path: Path, temporal: str, *, pooling: str, label_order: str
) -> None:
    metadata = ModelMetadata(temporal, pooling, label_order, calibration_scale=1.3, calibration_shift=-0.4)  # type: ignore[arg-type]
    checkpoint = untrained_checkpoint(metadata)
    run = OnnxRunner(classifier_onnx_from_checkpoint(checkpoint, tmp_path / "c.onnx"))
    generator = np.random.default_rng(0)
    for batch in (1, 2, 7):
        for frames in (1, 5, 20):
            features = generator.standard_normal((batch, frames, 2048), np.float32) * 4
            with torch.inference_mode():
                logits, probability = checkpoint.classifier(torch.from_numpy(features))
            got = run.infer({"features": features})
            assert np.abs(got["logits"] - logits.numpy()).max() < 1e-4
            assert np.abs(got["fake_probability"] - probability.numpy()).max() < 1e-5
            margin = 1.3 * (logits[:, 1] - logits[:, 0]) - 0.4
            assert got["fake_probability"][:, 0] == pytest.approx(torch.sigmoid(margin).numpy(), abs=1e-5)


def test_a_row_of_a_batch_answers_as_it_does_alone(published_checkpoint: Path, tmp_path: Path) -> None:
    run = OnnxRunner(
        classifier_onnx_from_checkpoint(checkpoint_from_file(published_checkpoint), tmp_path / "c.onnx")
    )
    features = np.random.default_rng(1).standard_normal((7, 20, 2048), np.float32)
    together = run.infer({"features": features})["logits"]
    alone = np.concatenate([run.infer({"features": row[None]})["logits"] for row in features])
    assert np.abs(together - alone).max() < 1e-4 * np.ptp(alone)


def test_untrained_weights_are_lively_enough_to_show_faults(tracked_clip: TrackedFaces) -> None:
    checkpoint = untrained_checkpoint(UNTRAINED_METADATA)
    faces = tracked_clip.faces[0]
    features = torch_extractor(checkpoint).infer({"faces": np.stack([faces[:5], faces[-5:]])})
    logits = torch_classifier(checkpoint).infer(features)["logits"]
    assert np.abs(logits[0] - logits[1]).max() > 0.01

"""One network in torch, under ONNX Runtime and behind a real Triton."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from deepfake_triton.contracts import FEATURES
from deepfake_triton.errors import InferenceFailed
from deepfake_triton.models.checkpoints.checkpoint import checkpoint_from_file
from deepfake_triton.models.onnx_export import classifier_onnx_from_checkpoint
from deepfake_triton.models.runtimes.base import Runner
from deepfake_triton.models.runtimes.onnx_runner import OnnxRunner
from deepfake_triton.models.runtimes.torch_runner import torch_classifier, torch_extractor
from deepfake_triton.models.runtimes.triton_runner import TritonRunner
from deepfake_triton.preprocessing.faces import TrackedFaces
from deepfake_triton.serving.server import TritonServer

pytestmark = pytest.mark.triton


def test_torch_onnx_and_a_server_answer_equally(
    published_server: TritonServer, *, published_checkpoint: Path, tracked_clip: TrackedFaces, tmp_path: Path
) -> None:
    checkpoint = checkpoint_from_file(published_checkpoint)
    features = torch_extractor(checkpoint).infer({"faces": tracked_clip.faces})
    reference = torch_classifier(checkpoint)
    expected = reference.infer(features)
    assert reference.runtime.startswith("torch 2.")
    served = TritonRunner(published_server.url, "sequence_classifier")
    runners: list[Runner] = [
        OnnxRunner(classifier_onnx_from_checkpoint(checkpoint, tmp_path / "c.onnx")),
        served,
    ]
    for runner in runners:
        outputs = runner.infer(features)
        assert set(outputs) == set(expected) == {"logits", "fake_probability"}
        for name, values in outputs.items():
            np.testing.assert_allclose(values, expected[name], atol=1e-3)
    assert "Triton 2." in served.runtime
    with pytest.raises(InferenceFailed, match="sequence_classifier at"):
        served.infer({FEATURES.name: np.zeros((1, 2, 5), np.float32)})

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from support import written_graph

from deepfake_triton.benchmarks.baselines.torch_detector import TorchDetector
from deepfake_triton.contracts import DEFAULT_DETECTOR_SIZE, DETECTIONS, FRAMES
from deepfake_triton.errors import InputError
from deepfake_triton.models.runtimes.base import Runner
from deepfake_triton.preprocessing.video.frame_batch import FrameBatch

pytestmark = pytest.mark.compute


@pytest.mark.parametrize("turned", [False, True])
def test_torch_finds_what_the_graph_finds(
    detector_path: Path, detector: Runner, clip_frames: FrameBatch, *, turned: bool
) -> None:
    frames = clip_frames.data.transpose(0, 2, 1, 3) if turned else clip_frames.data
    feed = {FRAMES.name: np.ascontiguousarray(frames[:3])}
    in_torch = TorchDetector(onnx.load(detector_path), DEFAULT_DETECTOR_SIZE)
    expected, found = detector.infer(feed)[DETECTIONS.name], in_torch.infer(feed)[DETECTIONS.name]
    assert turned or expected[:, 0, 4].min() > 0.8, "the clip's face"
    np.testing.assert_allclose(found, expected, atol=2e-3)


def test_another_detector_is_refused(tmp_path: Path) -> None:
    text = """<ir_version: 8, opset_import: ["" : 17]>
    g (float[N, 3, 8, 8] x) => (float[N, 1, 8, 8] y) <float[1, 3, 1, 1] w = {1, 1, 1}> { y = Conv (x, w) }"""
    with pytest.raises(InputError, match="not CenterFace"):
        TorchDetector(onnx.load(written_graph(text, tmp_path / "other.onnx")), DEFAULT_DETECTOR_SIZE)

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from deepfake_triton.models.frame_sampler import frame_sampler_onnx
from deepfake_triton.models.onnx_export import IR_VERSION, OPSET
from deepfake_triton.models.runtimes.onnx_runner import OnnxRunner
from deepfake_triton.preprocessing.detected_frames import detected_frames

pytestmark = pytest.mark.fast


@pytest.mark.parametrize("interval", range(1, 17))
def test_the_graph_chooses_the_frames_that_the_tracker_expects(interval: int, tmp_path: Path) -> None:
    sampler = OnnxRunner(frame_sampler_onnx(tmp_path / "sampler.onnx", interval))
    pixels = np.random.default_rng(0).integers(0, 256, (64, 6, 5, 3), np.uint8)
    for num_frames in range(1, 65):
        frames = pixels[:num_frames]
        sampled = sampler.infer({"frames": frames})["sampled_frames"]
        assert np.array_equal(sampled, frames[detected_frames(num_frames, interval)])


def test_old_runtimes_load_the_graph(tmp_path: Path) -> None:
    model = onnx.load(frame_sampler_onnx(tmp_path / "sampler.onnx", 4))
    assert model.ir_version == IR_VERSION
    assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", OPSET)]

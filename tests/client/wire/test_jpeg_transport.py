"""Frames sent as JPEG to a real server: smaller, and nearly the same answers."""

from __future__ import annotations

import numpy as np
import pytest
from tritonclient import grpc

from deepfake_triton.client import DeepfakeClient, Transport
from deepfake_triton.preprocessing.jpeg import encode_frames
from deepfake_triton.preprocessing.video.frame_batch import FrameBatch
from deepfake_triton.serving.server import TritonServer

pytestmark = pytest.mark.triton


def test_jpeg_says_nearly_the_same(published_server: TritonServer, clip_frames: FrameBatch) -> None:
    sizes = [sum(map(len, encode_frames(clip_frames.data, quality))) for quality in (50, 95)]
    assert sizes[0] < sizes[1] < clip_frames.data.nbytes / 3
    with DeepfakeClient(published_server.url, transport=Transport.GRPC) as asking:
        wanted = asking.faces(clip_frames)[0].fake_probability
    with DeepfakeClient(published_server.url, transport=Transport.JPEG) as asking:
        (face,) = asking.faces(clip_frames)
    assert face.fake_probability != wanted
    assert face.fake_probability == pytest.approx(wanted, abs=0.1)


def test_jpegs_that_are_none_are_the_callers_fault(published_server: TritonServer) -> None:
    tensor = grpc.InferInput("encoded_frames", [1], "BYTES")
    tensor.set_data_from_numpy(np.array([b"no image"], np.object_))
    with grpc.InferenceServerClient(published_server.url) as connection:
        with pytest.raises(Exception, match="no JPEG file"):
            connection.infer("deepfake_detector_jpeg", [tensor], client_timeout=10)
        assert connection.is_model_ready("deepfake_detector_jpeg")

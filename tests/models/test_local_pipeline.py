"""Frames to probabilities in this process, against torch and against the served ensemble."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from support import backdrop

from deepfake_triton.models.checkpoints.checkpoint import checkpoint_from_file
from deepfake_triton.models.local_pipeline import LocalPipeline, find_faces
from deepfake_triton.models.onnx_export import classifier_onnx_from_checkpoint, extractor_onnx_from_checkpoint
from deepfake_triton.models.runtimes.base import Runner
from deepfake_triton.models.runtimes.onnx_runner import OnnxRunner
from deepfake_triton.models.runtimes.torch_runner import torch_stages
from deepfake_triton.models.runtimes.triton_runner import TritonRunner
from deepfake_triton.models.stages import MODEL_NAMES, Stages
from deepfake_triton.preprocessing.crops import CropRule
from deepfake_triton.preprocessing.faces import TrackedFaces
from deepfake_triton.preprocessing.video.clip import decode_clip
from deepfake_triton.serving.server import TritonServer

FACELESS = np.stack([backdrop(320, 320)] * 5)


@pytest.fixture(scope="module")
def torch_pipeline(published_checkpoint: Path, detector: Runner) -> LocalPipeline:
    checkpoint = checkpoint_from_file(published_checkpoint)
    return LocalPipeline(torch_stages(checkpoint, detector), checkpoint.metadata.crop_rule)


@pytest.mark.compute
def test_every_runtime_of_the_networks_gives_the_same_probability(
    torch_pipeline: LocalPipeline, published_checkpoint: Path, *, clip_path: Path, tmp_path: Path
) -> None:
    checkpoint = checkpoint_from_file(published_checkpoint)
    stages: Stages[Runner] = Stages(
        detector=torch_pipeline.stages.detector,
        extractor=OnnxRunner(extractor_onnx_from_checkpoint(checkpoint, tmp_path / "e.onnx")),
        classifier=OnnxRunner(classifier_onnx_from_checkpoint(checkpoint, tmp_path / "c.onnx")),
    )
    frames = decode_clip(clip_path).frames.data
    faces = torch_pipeline.faces(frames)
    expected = torch_pipeline.probabilities(faces)
    assert expected.shape == (len(faces.faces), 1) and ((expected > 0) & (expected < 1)).all()
    got = LocalPipeline(stages, torch_pipeline.crop_rule).probabilities(faces)
    np.testing.assert_allclose(got, expected, atol=1e-3)


@pytest.mark.compute
def test_faces_are_those_of_the_tracker(
    detector: Runner, clip_path: Path, tracked_clip: TrackedFaces
) -> None:
    found = find_faces(decode_clip(clip_path).frames.data, detector, CropRule())
    assert np.array_equal(found.faces, tracked_clip.faces)
    assert np.array_equal(found.boxes, tracked_clip.boxes)
    assert not find_faces(FACELESS, detector, CropRule()).found


@pytest.mark.compute
def test_clips_of_one_shape_share_batches_and_those_without_a_face_have_no_probability(
    torch_pipeline: LocalPipeline, clip_path: Path
) -> None:
    frames = decode_clip(clip_path).frames.data
    clips = [frames[:5], FACELESS, frames[10:15]]
    assert np.isnan(torch_pipeline.probabilities(torch_pipeline.faces(FACELESS))).all()
    together = torch_pipeline.highest_probabilities(clips)
    one, none, other = (torch_pipeline.highest_probabilities([clip])[0] for clip in clips)
    assert math.isnan(together[1]) and math.isnan(none) and abs(one - other) > 0.1
    assert [together[0], together[2]] == pytest.approx([one, other], abs=1e-3)
    assert torch_pipeline.highest_probabilities([frames[:5], frames[:7]])[0] == one, "unequal: one by one"


@pytest.mark.triton
def test_the_networks_of_a_server_give_the_answer_of_its_ensemble(
    published_server: TritonServer, two_people: Path
) -> None:
    stages: Stages[Runner] = MODEL_NAMES.map(lambda name: TritonRunner(published_server.url, name))
    pipeline = LocalPipeline(stages, CropRule())
    ensemble = TritonRunner(published_server.url, "deepfake_detector")
    for frames, rows in ((decode_clip(two_people).frames.data, 2), (FACELESS, 1)):
        served = ensemble.infer({"frames": frames})
        faces = pipeline.faces(frames)
        assert served["fake_probability"].shape == (rows, 1)
        assert np.array_equal(faces.boxes, served["boxes"])
        np.testing.assert_allclose(
            pipeline.probabilities(faces), served["fake_probability"], atol=1e-6, equal_nan=True
        )

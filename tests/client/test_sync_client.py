"""The client against a real server: answers, agreement with torch, and faults."""

from __future__ import annotations

import os
import shutil
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from conftest import Portrait
from google.protobuf import text_format
from network import free_port
from support import PublishedModel, backdrop, overlap, pasted, settled, write_clip
from tritonclient import grpc
from tritonclient.grpc import model_config_pb2 as pb
from tritonclient.utils import InferenceServerException

from deepfake_triton.client import DeepfakeClient, FrameSelection, Sampling, Verdict
from deepfake_triton.errors import (
    ContractMismatch,
    DeadlineExceeded,
    ModelUnavailable,
    ServerUnreachable,
    VideoNotFound,
)
from deepfake_triton.models.runtimes.base import Runner
from deepfake_triton.preprocessing.crops import CropRule
from deepfake_triton.preprocessing.faces import TrackedFaces, faces_from_detections
from deepfake_triton.preprocessing.video.clip import decode_clip
from deepfake_triton.preprocessing.video.frame_batch import FrameBatch
from deepfake_triton.serving.server import ServerOptions, TritonServer

pytestmark = pytest.mark.triton


def executions(server: TritonServer, model: str) -> int:
    """How often a model has run, by Triton's statistics."""
    with grpc.InferenceServerClient(server.url) as connection:

        def read() -> int:
            stats = connection.get_inference_statistics(model, as_json=True)["model_stats"][0]
            return int(stats["execution_count"])

        return int(settled(read))


def test_two_people_each_get_a_probability(
    client: DeepfakeClient, two_people: Path, portrait: Portrait
) -> None:
    verdict = client.detect(two_people)
    assert len(verdict.faces) == 2 and verdict.frames_decoded == 20
    assert all(face.frames_observed == 20 for face in verdict.faces)
    left, right = sorted(face.box for face in verdict.faces)
    x1, y1, x2, y2 = portrait.face
    width = portrait.patch.shape[1]
    assert overlap(left, portrait.face_at(60, 90)) > 0.8
    assert overlap(right, (360 + width - x2, y1 + 120, 360 + width - x1, y2 + 120)) > 0.8
    assert verdict.fake_probability == max(face.fake_probability for face in verdict.faces)
    assert verdict.model.weights == "custom" and verdict.model.version == "1"


def test_the_served_verdict_is_the_published_codes(
    *, client: DeepfakeClient, clip_path: Path, published_model: PublishedModel, tracked_clip: TrackedFaces
) -> None:
    verdict = client.detect(clip_path)
    logits = published_model.predict(tracked_clip.faces[0])[1]
    expected = np.exp(logits[1]) / np.exp(logits).sum()
    assert verdict.fake_probability == pytest.approx(float(expected), abs=1e-4)


def test_eight_callers_in_mixed_batches_agree_with_the_published_code(
    published_server: TritonServer, published_model: PublishedModel, tracked_clip: TrackedFaces
) -> None:
    """Crops of their own, T of 1, 5 and 20, asked of extractor and classifier directly."""
    generator = np.random.default_rng(0)
    base = tracked_clip.faces[0].astype(int)
    jobs = []
    for index in range(12):
        shift = generator.integers(-40, 40, (1, 1, 1, 3))
        clip = np.clip(base[: (1, 5, 20)[index // 4]] + shift, 0, 255).astype(np.uint8)
        jobs.append(clip if index % 2 else clip[:, :, ::-1].copy())
    expected = [published_model.predict(clip) for clip in jobs]
    spread_features = np.ptp(np.concatenate([features for features, _ in expected]))
    spread_logits = np.ptp(np.stack([logits for _, logits in expected]))

    def ask(clip: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        with grpc.InferenceServerClient(published_server.url) as connection:
            faces = grpc.InferInput("faces", [1, *clip.shape], "UINT8")
            faces.set_data_from_numpy(clip[None])
            features = connection.infer("feature_extractor", [faces]).as_numpy("features")
            tensor = grpc.InferInput("features", list(features.shape), "FP32")
            tensor.set_data_from_numpy(features)
            return features[0], connection.infer("sequence_classifier", [tensor]).as_numpy("logits")[0]

    before = executions(published_server, "feature_extractor")
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, jobs))
    assert executions(published_server, "feature_extractor") - before < len(jobs)  # callers were merged
    for (features, logits), (expected_features, expected_logits) in zip(answers, expected, strict=True):
        assert np.abs(features - expected_features).max() <= 1e-3 * spread_features
        assert np.abs(logits - expected_logits).max() <= 1e-3 * spread_logits


def test_sixteen_callers_get_what_they_get_alone(
    client: DeepfakeClient, published_server: TritonServer, portrait: Portrait
) -> None:
    """Different clips of different lengths, sizes and numbers of faces, at once and one by one."""
    clips = []
    for index in range(16):
        height, width = ((360, 640), (320, 560))[index // 8]
        scene = backdrop(height, width, seed=index)
        images = []
        for frame in range(4 + index // 2):
            image = pasted(scene, portrait.patch, 5 + 7 * index + frame, 20 + 3 * index)
            if index % 4 == 0:
                image = pasted(image, portrait.patch[:, ::-1], width - 220 - frame, 60)
            images.append(np.clip(image.astype(int) + 5 * index - 40, 0, 255).astype(np.uint8))
        clips.append(FrameBatch(np.stack(images), np.arange(len(images)) / 25, len(images) / 25))
    alone = [client.faces(clip) for clip in clips]
    before = executions(published_server, "face_detector")
    with ThreadPoolExecutor(16) as pool:
        together = list(pool.map(client.faces, clips))
    assert executions(published_server, "face_detector") - before < len(together)  # callers were merged
    assert [len(faces) for faces in alone] == [2 if index % 4 == 0 else 1 for index in range(16)]
    assert np.ptp([faces[0].fake_probability for faces in alone]) > 0.05
    for one, many in zip(alone, together, strict=True):
        assert [face.box for face in one] == [face.box for face in many]
        for face, same in zip(one, many, strict=True):
            assert same.fake_probability == pytest.approx(face.fake_probability, abs=1e-4)


def test_the_served_tracker_is_the_projects_own_function(
    published_server: TritonServer, two_people: Path, detector: Runner
) -> None:
    frames = decode_clip(two_people).frames.data
    with grpc.InferenceServerClient(published_server.url) as connection:
        tensor = grpc.InferInput("frames", list(frames.shape), "UINT8")
        tensor.set_data_from_numpy(frames)
        answer = connection.infer("deepfake_detector", [tensor])
    tracked = faces_from_detections(frames, detector.infer({"frames": frames})["detections"], CropRule())
    assert np.array_equal(answer.as_numpy("boxes"), tracked.boxes)
    assert np.array_equal(answer.as_numpy("observed"), tracked.observed)


def test_uniform_sampling_reaches_the_end(client: DeepfakeClient, clip_path: Path) -> None:
    verdict = client.detect(clip_path, FrameSelection(8, Sampling.UNIFORM))
    (segment,) = verdict.faces[0].segments
    assert verdict.frames_decoded == 8
    assert segment.start_seconds < 0.5 and segment.end_seconds > 4.3
    assert verdict.duration_seconds == pytest.approx(4.8)


def test_a_clip_without_a_face_is_inconclusive(client: DeepfakeClient, tmp_path: Path) -> None:
    noise = np.random.default_rng(0)
    images = [noise.integers(0, 255, (240, 320, 3), np.uint8) for _ in range(5)]
    verdict = client.detect(write_clip(tmp_path / "noise.mp4", images))
    assert (verdict.verdict, verdict.reason, verdict.faces) == (Verdict.INCONCLUSIVE, "no_face", ())


def test_a_broken_request_is_the_callers_error_alone(
    client: DeepfakeClient, published_server: TritonServer, two_people: Path
) -> None:
    too_many = grpc.InferInput("frames", [65, 64, 64, 3], "UINT8")
    too_many.set_data_from_numpy(np.zeros((65, 64, 64, 3), np.uint8))
    with grpc.InferenceServerClient(published_server.url) as raw, pytest.raises(InferenceServerException):
        raw.infer("deepfake_detector", [too_many])
    assert len(client.detect(two_people).faces) == 2


def test_a_server_that_is_not_there() -> None:
    with (
        DeepfakeClient(f"127.0.0.1:{free_port()}", timeout_s=2) as nobody,
        pytest.raises(ServerUnreachable, match="is deepfake-triton serve running"),
    ):
        nobody.model()


def test_a_missing_video_needs_no_server(tmp_path: Path) -> None:
    with DeepfakeClient("127.0.0.1:1") as nobody, pytest.raises(VideoNotFound):
        nobody.detect(tmp_path / "missing.mp4")


def test_a_server_that_hangs_runs_into_the_deadline(
    published_repository: Path, clip_path: Path, tmp_path: Path
) -> None:
    options = ServerOptions.on_free_ports(published_repository)
    with TritonServer(options) as server, DeepfakeClient(server.url, timeout_s=2) as asking:
        asking.model()
        os.kill(server.process.pid, signal.SIGSTOP)
        try:
            with pytest.raises(DeadlineExceeded, match=r"no answer within (2|1\.\d) s"):
                asking.detect(clip_path)
        finally:
            os.kill(server.process.pid, signal.SIGCONT)
        assert DeepfakeClient(server.url).detect(clip_path).faces


def test_a_server_with_another_model(published_repository: Path, tmp_path: Path) -> None:
    """One without the ensemble, and one whose ensemble is something else."""
    for name in ("bare", "other"):
        shutil.copytree(published_repository / "face_tracker", tmp_path / name / "face_tracker")
    config = pb.ModelConfig(name="deepfake_detector", platform="ensemble")
    config.input.add(name="video", data_type=pb.TYPE_UINT8, dims=[-1, -1, -1, 3])
    config.input.add(name="candidates", data_type=pb.TYPE_FP32, dims=[-1, 32, 15])
    config.output.add(name="observed", data_type=pb.TYPE_BOOL, dims=[-1, -1])
    step = config.ensemble_scheduling.step.add(model_name="face_tracker", model_version=1)
    step.input_map.update({"frames": "video", "detections": "candidates"})
    step.output_map.update({"observed": "observed"})
    (tmp_path / "other" / "deepfake_detector" / "1").mkdir(parents=True)
    (tmp_path / "other" / "deepfake_detector" / "config.pbtxt").write_text(
        text_format.MessageToString(config)
    )
    for name, error, says in (
        ("bare", ModelUnavailable, "deepfake_detector"),
        ("other", ContractMismatch, "input frames"),
    ):
        options = ServerOptions.on_free_ports(tmp_path / name)
        with (
            TritonServer(options) as server,
            DeepfakeClient(server.url) as asking,
            pytest.raises(error, match=says),
        ):
            asking.model()

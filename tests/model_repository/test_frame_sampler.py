"""On a real Triton, an export whose detector gets every fourth frame answers as the local pipeline does."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from support import backdrop
from tritonclient import grpc

from deepfake_triton import cli
from deepfake_triton.client import DeepfakeClient, Transport
from deepfake_triton.errors import InferenceFailed
from deepfake_triton.models.local_pipeline import LocalPipeline
from deepfake_triton.models.runtimes.base import Runner
from deepfake_triton.models.runtimes.triton_runner import TritonRunner
from deepfake_triton.models.stages import MODEL_NAMES, Stages
from deepfake_triton.preprocessing.crops import CropRule
from deepfake_triton.preprocessing.detected_frames import detected_frames
from deepfake_triton.preprocessing.video.clip import decode_clip
from deepfake_triton.serving.server import ServerOptions, TritonServer

pytestmark = pytest.mark.triton

INTERVAL = 4


@pytest.fixture(scope="module")
def repository(published_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("interval") / "repository"
    arguments = ["--checkpoint", str(published_checkpoint), "--detection-interval", str(INTERVAL)]
    assert cli.main(["export", "--output", str(output), *arguments]) == 0
    return output


@pytest.fixture(scope="module")
def server(repository: Path) -> Iterator[TritonServer]:
    with TritonServer(ServerOptions.on_free_ports(repository)) as server:
        yield server


def test_the_answer_is_that_of_the_local_pipeline(server: TritonServer, two_people: Path) -> None:
    stages: Stages[Runner] = MODEL_NAMES.map(lambda name: TritonRunner(server.url, name))
    pipeline = LocalPipeline(stages, CropRule(), INTERVAL)
    ensemble = TritonRunner(server.url, "deepfake_detector")
    frames = decode_clip(two_people).frames.data
    faceless = np.stack([backdrop(320, 320)] * 7)
    for clip, rows in ((frames, 2), (frames[:1], 2), (frames[:6], 2), (faceless, 1)):
        served, faces = ensemble.infer({"frames": clip}), pipeline.faces(clip)
        assert served["fake_probability"].shape == (rows, 1)
        assert np.array_equal(faces.boxes, served["boxes"])
        assert np.array_equal(faces.observed, served["observed"]) and faces.observed.all() == (rows == 2)
        assert served["faces_left_out"].tolist() == [faces.left_out]
        np.testing.assert_allclose(
            pipeline.probabilities(faces), served["fake_probability"], atol=1e-6, equal_nan=True
        )


def test_the_detector_gets_some_frames_only(server: TritonServer, two_people: Path) -> None:
    frames = decode_clip(two_people).frames.data
    sampled = TritonRunner(server.url, "frame_sampler").infer({"frames": frames})["sampled_frames"]
    assert np.array_equal(sampled, frames[detected_frames(len(frames), INTERVAL)])
    with grpc.InferenceServerClient(server.url) as connection:
        before = rows_detected(connection)
        TritonRunner(server.url, "deepfake_detector").infer({"frames": frames})
        assert rows_detected(connection) - before == len(sampled) < len(frames)


def rows_detected(connection: grpc.InferenceServerClient) -> int:
    (statistics,) = connection.get_inference_statistics("face_detector").model_stats
    return int(statistics.inference_count)


def test_both_ensembles_give_one_verdict_to_many_callers(server: TritonServer, two_people: Path) -> None:
    found = {}
    for transport in (Transport.AUTO, Transport.JPEG):
        with DeepfakeClient(server.url, transport=transport) as client, ThreadPoolExecutor(4) as pool:
            verdicts = list(pool.map(client.detect, [two_people] * 4))
        faces = {tuple(face.fake_probability for face in verdict.faces) for verdict in verdicts}
        assert len(verdicts[0].faces) == 2 and np.ptp(np.array(sorted(faces)), axis=0).max() < 1e-5
        found[transport] = verdicts[0].fake_probability
    assert found[Transport.JPEG] == pytest.approx(found[Transport.AUTO], abs=0.05)


def test_detections_of_every_frame_are_refused(server: TritonServer) -> None:
    tracker = TritonRunner(server.url, "face_tracker")
    frames, detections = np.zeros((9, 90, 120, 3), np.uint8), np.zeros((9, 32, 15), np.float32)
    with pytest.raises(InferenceFailed, match=r"got \[9, 32, 15\], expected \[3, 32, 15\]"):
        tracker.infer({"frames": frames, "detections": detections})


def test_the_repository_says_how_many_frames_are_detected(repository: Path) -> None:
    report = json.loads((repository / "export_report.json").read_text())
    assert report["detector"] == {"name": "centerface", "size": 320, "interval": INTERVAL}
    assert report["models"]["frame_sampler"]["runs_on"] == ["onnxruntime"]
    assert 'key: "detection_interval"' in (repository / "deepfake_detector/config.pbtxt").read_text()

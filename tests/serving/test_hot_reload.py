"""A running server changes versions under load: no request fails, and no answer mixes two."""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from support import lively_published_model

from deepfake_triton import cli, contracts
from deepfake_triton.client import DeepfakeClient
from deepfake_triton.errors import ServerFailed, ServerUnreachable
from deepfake_triton.export.options import CheckpointWeights, ExportOptions, ParityOptions
from deepfake_triton.export.pipeline import export
from deepfake_triton.export.repository.versions import activate, active_version
from deepfake_triton.models.checkpoints.checkpoint import checkpoint_from_file
from deepfake_triton.models.runtimes.base import Runner
from deepfake_triton.models.runtimes.torch_runner import torch_classifier, torch_extractor
from deepfake_triton.preprocessing.crops import CropRule
from deepfake_triton.preprocessing.faces import TrackedFaces, faces_from_detections
from deepfake_triton.preprocessing.video.frame_batch import FrameBatch
from deepfake_triton.repository.approval import accept
from deepfake_triton.repository.integrity import file_hashes
from deepfake_triton.serving.hot_reload import LiveServer
from deepfake_triton.serving.server import ServerOptions, TritonServer

pytestmark = pytest.mark.triton

CALLERS = 3
FRAMES = 4


@pytest.fixture(scope="module")
def two_versions(
    published_repository: Path,
    *,
    tracked_clip: TrackedFaces,
    brief_clip: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Path, Path]:
    """A repository with a second version of other weights, and those weights."""
    folder = tmp_path_factory.mktemp("switching")
    shutil.copytree(published_repository, folder / "repository")
    torch.save(lively_published_model(tracked_clip.faces[0], seed=8).state_dict(), folder / "second.pt")
    report = export(
        ExportOptions(
            folder / "repository",
            CheckpointWeights(folder / "second.pt"),
            parity=ParityOptions(brief_clip),
        )
    )
    assert report.version == 2
    return folder / "repository", folder / "second.pt"


@pytest.fixture(scope="module")
def live_server(two_versions: tuple[Path, Path]) -> Iterator[TritonServer]:
    """A server of both versions, whose clients may load and unload models."""
    options = replace(ServerOptions.on_free_ports(two_versions[0]), model_control="explicit")
    with TritonServer(options) as server:
        yield server


def test_a_switch_under_load_fails_nothing_and_mixes_nothing(
    two_versions: tuple[Path, Path],
    live_server: TritonServer,
    *,
    published_checkpoint: Path,
    detector: Runner,
    clip_frames: FrameBatch,
) -> None:
    repository, second = two_versions
    few = FrameBatch(clip_frames.data[:FRAMES], clip_frames.pts_seconds[:FRAMES], 1.0)
    detections = detector.infer({"frames": few.data})["detections"]
    pure, mixed = expected(
        faces_from_detections(few.data, detections, CropRule()), published_checkpoint, second
    )
    apart = min(abs(one - other) for one in pure for other in mixed)
    assert apart > 0.02 and abs(pure[0] - pure[1]) > 0.02, "a mixture could not be told from a version"
    answers: list[float] = []
    stop = threading.Event()
    address = f"127.0.0.1:{live_server.http_port}"
    with DeepfakeClient(live_server.url, timeout_s=60) as client:

        def call() -> None:
            while not stop.is_set():
                answers.append(client.faces(few)[0].fake_probability)

        with ThreadPoolExecutor(CALLERS) as pool:
            callers = [pool.submit(call) for _ in range(CALLERS)]
            try:
                for version in (1, 2, 1):
                    wait_for_more(answers, callers)
                    arguments = ["activate", str(repository), str(version), "--http", address]
                    assert cli.main(["repository", *arguments]) == 0
                wait_for_more(answers, callers)
            finally:
                stop.set()
            for caller in callers:
                caller.result()
        live = LiveServer(address)
        assert [live.loaded(spec.name) for spec in contracts.served_models()] == [{1}] * len(
            contracts.served_models()
        )
    distances = np.abs(np.array(answers)[:, None] - np.array(pure)[None, :])
    assert distances.min(axis=1).max() < apart / 4, "an answer is of neither version"
    by_version = np.bincount(distances.argmin(axis=1), minlength=2)
    assert by_version.min() >= 2, "the two that were waited for beyond those in flight at the switch"


def test_a_version_that_does_not_load_leaves_the_old_one_serving(
    two_versions: tuple[Path, Path], live_server: TritonServer, clip_frames: FrameBatch
) -> None:
    repository, live = two_versions[0], LiveServer(f"127.0.0.1:{live_server.http_port}")
    if active_version(repository) != 1:
        activate(repository, 1, live)
    graph = repository / "sequence_classifier" / "2" / "model.onnx"
    graph.write_bytes(b"exported so")
    path = repository / "deepfake_detector" / "2" / "export_report.json"
    report = json.loads(path.read_text())
    report["models"]["sequence_classifier"]["files"] = file_hashes({graph.name: graph})
    path.write_text(json.dumps(report))
    accept(repository)
    with DeepfakeClient(live_server.url, timeout_s=60) as client:
        before = client.faces(clip_frames)[0].fake_probability
        with pytest.raises(ServerFailed, match="sequence_classifier was not loaded"):
            activate(repository, 2, live)
        assert active_version(repository) == 1
        assert client.faces(clip_frames)[0].fake_probability == pytest.approx(before, abs=1e-5)


def test_nobody_at_the_address_is_said() -> None:
    with pytest.raises(ServerUnreachable, match="expected HOST:PORT"):
        LiveServer("nowhere")
    with pytest.raises(ServerUnreachable, match="no Triton answers there"):
        LiveServer("127.0.0.1:9")


def expected(tracked: TrackedFaces, first: Path, second: Path) -> tuple[list[float], list[float]]:
    """Probabilities of both versions, and of features of the one in the classifier of the other."""
    checkpoints = [checkpoint_from_file(path) for path in (first, second)]
    features = [torch_extractor(own).infer({"faces": tracked.faces[:1]}) for own in checkpoints]
    table = [
        [float(torch_classifier(own).infer(feed)["fake_probability"][0, 0]) for own in checkpoints]
        for feed in features
    ]
    return [table[0][0], table[1][1]], [table[0][1], table[1][0]]


def wait_for_more(answers: list[float], callers: list, timeout_s: float = 60) -> None:
    deadline, wanted = time.monotonic() + timeout_s, len(answers) + CALLERS + 2
    while len(answers) < wanted and not any(caller.done() for caller in callers):
        assert time.monotonic() < deadline
        time.sleep(0.02)

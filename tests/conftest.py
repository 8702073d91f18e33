"""Fixtures that several folders share: real servers, started once, ended with the tests."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc_environment  # noqa: F401 - first of those that import gRPC
import numpy as np
import pytest
import torch
from made_once import made_once
from scheduling import changed_scheduling
from standing_servers import standing_server, start_dead_servers_again
from support import PublishedModel, backdrop, lively_published_model, pasted, write_clip

from deepfake_triton import cli, contracts, model_repository
from deepfake_triton.arrays import Image
from deepfake_triton.client import DeepfakeClient
from deepfake_triton.export.demo_video import demo_clip
from deepfake_triton.export.options import (
    CheckpointWeights,
    ExportOptions,
    Fp16,
    ParityOptions,
    TensorRTEngine,
    UntrainedWeights,
)
from deepfake_triton.export.pipeline import export
from deepfake_triton.models.detectors.build import detector_onnx
from deepfake_triton.models.resnext import ResNeXt50
from deepfake_triton.models.runtimes.base import Runner
from deepfake_triton.models.runtimes.onnx_runner import OnnxRunner
from deepfake_triton.preprocessing.crops import CropRule
from deepfake_triton.preprocessing.faces import TrackedFaces, faces_from_detections
from deepfake_triton.preprocessing.video.clip import decode_clip
from deepfake_triton.preprocessing.video.frame_batch import FrameBatch
from deepfake_triton.repository.approval import accept
from deepfake_triton.serving.server import TritonServer

_ROOT = Path(__file__).resolve().parent.parent


TIMEOUTS_S = {"fast": 120, "compute": 600, "triton": 600, "slow": 1500, "gpu": 600}
"""The tiers, and the time after which a test of one has hung: twice what the longest takes on 2 cores."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuse tests that name no tier, or several: they would run in none of the commands, or in two."""
    for item in items:
        tiers = {mark.name for mark in item.iter_markers() if mark.name in TIMEOUTS_S}
        if len(tiers) != 1:
            got = ", ".join(sorted(tiers)) or "none"
            raise pytest.UsageError(f"{item.nodeid}: tier: got {got}, not one of {', '.join(TIMEOUTS_S)}")
        (tier,) = tiers
        # By a signal, so that it fails as others do, and its servers end.
        item.add_marker(pytest.mark.timeout(TIMEOUTS_S[tier], method="signal"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Escape lone surrogates that a test printed: a process that runs tests cannot send them on."""
    report = yield
    report.sections = [
        (title, text.encode(errors="backslashreplace").decode()) for title, text in report.sections
    ]
    return report


_POLICY = os.sched_getscheduler(0)


@pytest.fixture(autouse=True)
def _left_as_it_was() -> Iterator[None]:
    """Keep a server that died in a test, or a priority that it took, from those after it."""
    yield
    problem = changed_scheduling(_POLICY)
    start_dead_servers_again()
    if problem:
        pytest.fail(problem)


@dataclass(frozen=True)
class Portrait:
    """A real head cut from the demo's clip, and where in that patch its face is (x1 y1 x2 y2).

    The face is 130 px long in a patch of 166x216.
    """

    patch: Image
    face: tuple[float, float, float, float]

    def face_at(self, left: float, top: float) -> tuple[float, float, float, float]:
        """The face's box when the patch is pasted at (left, top)."""
        x1, y1, x2, y2 = self.face
        return (x1 + left, y1 + top, x2 + left, y2 + top)


@pytest.fixture(scope="session")
def clip_path() -> Path:
    path = demo_clip()
    assert path is not None, "the clip comes with the package"
    return path


@pytest.fixture(scope="session")
def brief_clip(clip_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four frames of it: for exports that are not looked at for their parity."""
    frames = decode_clip(clip_path).frames.data[:4]
    return write_clip(tmp_path_factory.mktemp("brief") / "brief.mp4", list(frames), pixel_format="yuv444p")


@pytest.fixture(scope="session")
def detector_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("detector") / "model.onnx"
    return detector_onnx("centerface", path, contracts.DEFAULT_DETECTOR_SIZE)


@pytest.fixture(scope="session")
def detector(detector_path: Path) -> Runner:
    return OnnxRunner(detector_path)


@pytest.fixture(scope="session")
def clip_frames(clip_path: Path) -> FrameBatch:
    """The real clip's frames, as a client sends them."""
    return decode_clip(clip_path).frames


@pytest.fixture(scope="session")
def tracked_clip(clip_path: Path, detector: Runner) -> TrackedFaces:
    """The real clip's faces, cut by the project's own detector and tracker."""
    frames = decode_clip(clip_path).frames.data
    detections = detector.infer({"frames": frames})["detections"]
    return faces_from_detections(frames, detections, CropRule())


@pytest.fixture(scope="session")
def portrait(clip_path: Path, detector: Runner) -> Portrait:
    """The head of the demo's clip, its face brought to 130 px."""
    import cv2

    frame = decode_clip(clip_path).frames.data[:1]
    x1, y1, x2, y2, score = detector.infer({"frames": frame})["detections"][0, 0, :5]
    assert score > 0.8
    side, top_px = 0.34 * (x2 - x1), 0.33 * (y2 - y1)
    left, top, right, bottom = (round(v) for v in (x1 - side, y1 - top_px, x2 + side, y2 + top_px))
    scale = 130 / float(y2 - y1)
    patch = cv2.resize(
        frame[0, top:bottom, left:right], None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA
    )
    face = tuple(scale * float(value) for value in (x1 - left, y1 - top, x2 - left, y2 - top))
    return Portrait(np.asarray(patch, np.uint8), face)  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def two_people(portrait: Portrait, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two faces at known places: one still, one moving right by 2 px a frame."""
    scene = backdrop(360, 640)
    pictures = []
    for index in range(25):
        picture = pasted(scene, portrait.patch, 60, 90)
        pictures.append(pasted(picture, portrait.patch[:, ::-1], 360 + 2 * index, 120))
    return write_clip(tmp_path_factory.mktemp("clips") / "two.mp4", pictures, codec_options={"crf": "12"})


@pytest.fixture(scope="session")
def published_checkpoint(tracked_clip: TrackedFaces, tmp_path_factory: pytest.TempPathFactory) -> Path:
    def make(path: Path) -> None:
        torch.save(lively_published_model(tracked_clip.faces[0]).state_dict(), path)

    return made_once(tmp_path_factory, "published.pt", make)


@pytest.fixture(scope="session")
def published_model(published_checkpoint: Path) -> PublishedModel:
    model = PublishedModel(ResNeXt50())
    model.load_state_dict(torch.load(published_checkpoint))
    return model.eval()


@pytest.fixture(scope="session")
def published_repository(published_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    def make(output: Path) -> None:
        export(ExportOptions(output, CheckpointWeights(published_checkpoint)))

    return made_once(tmp_path_factory, "published/repository", make)


@pytest.fixture(scope="session")
def small_repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tracker alone, as the package holds it: a server that starts fast."""
    root = tmp_path_factory.mktemp("small")
    source = Path(model_repository.__path__[0]) / "face_tracker"
    shutil.copytree(source, root / "face_tracker", ignore=shutil.ignore_patterns("__pycache__"))
    accept(root)
    return root


@pytest.fixture(scope="session")
def default_repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped weights through OpenVINO, as the command line writes them."""

    def make(output: Path) -> None:
        assert cli.main(["export", "--output", str(output), "--accelerator", "openvino"]) == 0

    return made_once(tmp_path_factory, "default/repository", make)


@pytest.fixture(scope="session")
def default_server(default_repository: Path) -> Iterator[TritonServer]:
    """A real Triton that serves the shipped weights."""
    with standing_server(default_repository) as server:
        yield server


@pytest.fixture(scope="session")
def int8_repository(clip_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The default weights in INT8 for OpenVINO, as the command line writes them."""

    def make(output: Path) -> None:
        arguments = ["export", "--output", str(output), "--precision", "int8", "--accelerator", "openvino"]
        assert cli.main([*arguments, "--calibration", str(clip_path), "--calibration-samples", "32"]) == 0

    return made_once(tmp_path_factory, "int8/repository", make)


@pytest.fixture(scope="session")
def tensorrt_repository(brief_clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Untrained weights in FP16, compiled by TensorRT-RTX for one kind of GPU (8.0); to be read only."""

    def make(output: Path) -> None:
        engine = TensorRTEngine("tensorrt-rtx", ("8.0",))
        parity = ParityOptions(brief_clip)
        export(ExportOptions(output, UntrainedWeights(), precision=Fp16(), engine=engine, parity=parity))

    return made_once(tmp_path_factory, "tensorrt/repository", make)


@pytest.fixture(scope="session")
def published_server(published_repository: Path) -> Iterator[TritonServer]:
    """A real Triton that serves the published layout with lively weights."""
    with standing_server(published_repository) as server:
        yield server


@pytest.fixture(scope="session")
def client(published_server: TritonServer) -> Iterator[DeepfakeClient]:
    with DeepfakeClient(published_server.url) as connected:
        assert connected.model().name == contracts.deepfake_detector().name
        yield connected


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy without links, as from a downloaded archive."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=_ROOT, capture_output=True, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip
    for name in listed:
        if (_ROOT / name).is_file() and not (_ROOT / name).is_symlink():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(_ROOT / name, source / name)
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--wheel-dir",
        str(folder),
        str(source),
    ]
    subprocess.run(command, check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture
def shared_folder() -> Iterator[Path]:
    """One that other users of the host can enter."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)

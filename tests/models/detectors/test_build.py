from __future__ import annotations

import hashlib
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from conftest import Portrait
from support import backdrop, overlap, pasted

from deepfake_triton.errors import DetectorError
from deepfake_triton.models.detectors import weights as detector_weights
from deepfake_triton.models.detectors.build import detector_onnx
from deepfake_triton.models.detectors.weights import find_centerface
from deepfake_triton.models.runtimes.base import Runner
from deepfake_triton.models.runtimes.onnx_runner import OnnxRunner
from deepfake_triton.preprocessing.video.clip import decode_clip

pytestmark = pytest.mark.compute


@pytest.fixture(scope="module")
def scene(portrait: Portrait) -> np.ndarray:
    return pasted(pasted(backdrop(360, 640), portrait.patch, 60, 90), portrait.patch[:, ::-1], 400, 120)


def detect(run: Runner, frames: np.ndarray) -> np.ndarray:
    return run.infer({"frames": frames})["detections"]


def test_the_graph_is_self_contained_and_free_in_every_size(detector_path: Path) -> None:
    model = onnx.load(detector_path)
    assert model.ir_version == 8 and [opset.version for opset in model.opset_import] == [17]
    (frames,), (detections,) = model.graph.input, model.graph.output
    dims = [dim.dim_param or dim.dim_value for dim in frames.type.tensor_type.shape.dim]
    assert frames.type.tensor_type.elem_type == onnx.TensorProto.UINT8 and dims == ["N", "H", "W", 3]
    assert [dim.dim_value for dim in detections.type.tensor_type.shape.dim][1:] == [32, 15]
    assert {node.op_type for node in model.graph.node if "frames" in node.input} == {"Cast"}


@pytest.mark.parametrize(("height", "width"), [(360, 640), (720, 1280), (144, 176), (640, 360), (333, 517)])
def test_faces_at_known_places_in_frames_of_any_size(
    detector: Runner, portrait: Portrait, *, height: int, width: int
) -> None:
    scale = min(height, width) / 330
    scaled = cv2.resize(portrait.patch, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    frame = pasted(backdrop(height, width), np.asarray(scaled, np.uint8), 11, 7)
    expected = [value * scale + offset for value, offset in zip(portrait.face, (11, 7, 11, 7), strict=True)]
    rows = detect(detector, frame[None])[0]
    found = rows[rows[:, 4] >= 0.5]
    assert len(found) == 1 and overlap(found[0, :4], expected) > 0.8


def test_landmarks_lie_where_a_face_has_them(detector: Runner, scene: np.ndarray) -> None:
    for row in detect(detector, scene[None])[0, :2]:
        x1, y1, x2, y2 = row[:4]
        eye_left, eye_right, nose, mouth_left, mouth_right = row[5:].reshape(5, 2)
        assert all(x1 < x < x2 and y1 < y < y2 for x, y in row[5:].reshape(5, 2))
        assert eye_left[0] < nose[0] < eye_right[0] and mouth_left[0] < mouth_right[0]
        assert max(eye_left[1], eye_right[1]) < nose[1] < min(mouth_left[1], mouth_right[1])


def test_rows_are_best_first_clipped_and_zero_padded(detector: Runner, portrait: Portrait) -> None:
    frame = pasted(backdrop(200, 200), portrait.patch, -60, 40)
    rows = detect(detector, frame[None])[0]
    scores = rows[:, 4]
    assert rows.shape == (32, 15) and np.all(np.diff(scores) <= 0)
    assert not rows[scores < 0.05].any() and (scores == 0).any()
    assert np.all(rows[:, :4] >= 0) and np.all(rows[:, :4] <= 200)


def test_a_batch_equals_frame_by_frame(detector: Runner, clip_path: Path, scene: np.ndarray) -> None:
    clip = decode_clip(clip_path).frames.data
    moving = np.stack([np.roll(scene, 3 * index, axis=1) for index in range(9)])
    for frames in (clip, moving):
        alone = np.concatenate([detect(detector, frame[None]) for frame in frames])
        assert np.abs(detect(detector, frames) - alone).max() <= 1e-3
        order = np.random.default_rng(0).permutation(len(frames))
        assert np.abs(detect(detector, frames[order]) - alone[order]).max() <= 1e-3


def reference_detections(frame: np.ndarray, size: int) -> np.ndarray:
    """The published network with letterbox, decoding and top-K in numpy and OpenCV: [N, 15], best first."""
    import onnxruntime

    height, width = frame.shape[:2]
    long_side = max(height, width)
    scaled_w, scaled_h = (
        (width * size + long_side // 2) // long_side,
        (height * size + long_side // 2) // long_side,
    )
    padded = np.zeros((-(-scaled_h // 32) * 32, -(-scaled_w // 32) * 32, 3), np.float32)
    padded[:scaled_h, :scaled_w] = cv2.resize(
        frame.astype(np.float32), (scaled_w, scaled_h), interpolation=cv2.INTER_LINEAR
    )
    model = onnx.load(find_centerface())
    for value in (model.graph.input[0], *model.graph.output):
        for axis in (0, 2, 3):
            value.type.tensor_type.shape.dim[axis].dim_param = f"d{axis}"
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    score, size_yx, offset, marks = session.run(None, {"input.1": padded.transpose(2, 0, 1)[None]})
    near = cv2.dilate(score[0, 0], np.ones((3, 3), np.uint8))
    rows = []
    for y, x in zip(*np.nonzero((score[0, 0] == near) & (score[0, 0] >= 0.05)), strict=True):
        h, w = np.exp(size_yx[0, :, y, x]) * 4
        left = (x + offset[0, 1, y, x] + 0.5) * 4 - w / 2
        top = (y + offset[0, 0, y, x] + 0.5) * 4 - h / 2
        points = [(left + marks[0, 2 * i + 1, y, x] * w, top + marks[0, 2 * i, y, x] * h) for i in range(5)]
        table = np.array([(left, top), (left + w, top + h), *points]) * (width / scaled_w, height / scaled_h)
        table[:2] = np.clip(table[:2], 0, (width, height))
        rows.append([*table[:2].ravel(), score[0, 0, y, x], *table[2:].ravel()])
    return np.array(sorted(rows, key=lambda row: -row[4]))


@pytest.mark.parametrize("size", [320, 640])
def test_agrees_with_the_published_network_decoded_in_numpy(
    scene: np.ndarray, clip_path: Path, *, tmp_path: Path, size: int
) -> None:
    run = OnnxRunner(detector_onnx("centerface", tmp_path / "d.onnx", size))
    for frame in (scene, decode_clip(clip_path).frames.data[0]):
        expected = reference_detections(frame, size)
        got = detect(run, frame[None])[0][: len(expected)]
        strong = expected[:, 4] > 0.3
        assert strong.any()
        assert np.abs(got[: strong.sum()] - expected[strong]).max() < 0.05


def test_wrong_weights_and_sizes_are_refused(detector_path: Path, tmp_path: Path) -> None:
    (tmp_path / "text.onnx").write_text("no graph")
    for weights in (detector_path, tmp_path / "text.onnx", tmp_path / "missing.onnx"):
        with pytest.raises(DetectorError, match=weights.name):
            detector_onnx(f"centerface:{weights}", tmp_path / "d.onnx", 320)
    for size in (100, 333, 4096):
        with pytest.raises(DetectorError, match="multiple of 32"):
            detector_onnx("centerface", tmp_path / "d.onnx", size)


def test_the_default_weights_come_with_the_package_and_their_license() -> None:
    weights = find_centerface()
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    text = weights.with_name("LICENSE.txt").read_text()
    assert f"SHA-256: {digest}" in text and "MIT License" in text and "Permission is hereby granted" in text


def test_where_the_weights_were_left_out_the_message_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(detector_weights, "CENTERFACE", tmp_path / "centerface.onnx")
    with pytest.raises(DetectorError, match=r"--detector centerface:PATH"):
        find_centerface()

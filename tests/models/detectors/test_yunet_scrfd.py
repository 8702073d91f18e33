"""YuNet on real weights where they are at hand, and a file of SCRFD's layout whose answer is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from conftest import Portrait
from paths import SHARED
from support import backdrop, overlap, pasted
from torch import nn

from deepfake_triton import cli
from deepfake_triton.errors import DetectorError
from deepfake_triton.export.tensorrt.builder import EngineOptions, build_engine
from deepfake_triton.models.detectors.build import detector_onnx
from deepfake_triton.models.detectors.dense_decoder import STRIDES, DenseDecoder
from deepfake_triton.models.detectors.weights import resolve_detector
from deepfake_triton.models.runtimes.base import Runner
from deepfake_triton.models.runtimes.onnx_runner import OnnxRunner
from deepfake_triton.models.runtimes.tensorrt_library import load_tensorrt

pytestmark = pytest.mark.compute

YUNET = SHARED / "models" / "yunet_n_dynamic.onnx"
ANCHORS = 2


class FlatLevel(nn.Module):
    """One level as SCRFD's files have it: batch and anchors flattened into one axis."""

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.pool = nn.AvgPool2d(stride)
        self.score = nn.Conv2d(channels, ANCHORS, 1)
        self.box = nn.Conv2d(channels, 4 * ANCHORS, 1)
        self.marks = nn.Conv2d(channels, 10 * ANCHORS, 1)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        x = self.pool(x)
        score, box, marks = (layer(x).permute(2, 3, 0, 1) for layer in (self.score, self.box, self.marks))
        return torch.sigmoid(score.reshape(-1, 1)), box.reshape(-1, 4), marks.reshape(-1, 10)


class BrightSquares(nn.Module):
    """Finds bright squares: the score of a cell is its brightness, the second anchor's is always less. Boxes
    reach two strides to each side, landmarks stand half a stride from the cell's corner."""

    def __init__(self) -> None:
        super().__init__()
        self.levels = nn.ModuleList(FlatLevel(3, stride) for stride in STRIDES)
        with torch.no_grad():
            for index, level in enumerate(self.levels):
                assert isinstance(level, FlatLevel)
                for layer, bias in ((level.score, -4.0 - 0.5 * index), (level.box, 2.0), (level.marks, 0.5)):
                    nn.init.zeros_(layer.weight)
                    assert layer.bias is not None
                    nn.init.constant_(layer.bias, bias)
                level.score.weight[0] = 4.0
                level.score.weight[1] = 3.0

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        answers = [level(x) for level in self.levels]
        return tuple(answer[field] for field in range(3) for answer in answers)


@pytest.fixture(scope="module")
def scrfd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("scrfd") / "scrfd.onnx"
    torch.onnx.export(
        BrightSquares().eval(), (torch.zeros(1, 3, 64, 64),), str(path), input_names=["input.1"],
        output_names=[f"out_{number}" for number in range(443, 452)],
        dynamic_axes={"input.1": {2: "h", 3: "w"}}, opset_version=11, dynamo=False,
    )  # fmt: skip
    return path


def squares(places: list[tuple[int, int]]) -> np.ndarray:
    """Frames [N, 320, 320, 3], each black with one white square of 8 px whose corner is there (x, y)."""
    frames = np.zeros((len(places), 320, 320, 3), np.uint8)
    for frame, (x, y) in zip(frames, places, strict=True):
        frame[y : y + 8, x : x + 8] = 255
    return frames


def test_a_flattened_file_is_mended_and_a_batch_equals_frame_by_frame(scrfd: Path, tmp_path: Path) -> None:
    runner = OnnxRunner(detector_onnx(f"scrfd:{scrfd}", tmp_path / "d.onnx", 320))
    places = [(80, 160), (200, 40), (8, 296), (144, 144)]
    frames = squares(places)
    together = runner.infer({"frames": frames})["detections"]
    alone = np.concatenate([runner.infer({"frames": frame[None]})["detections"] for frame in frames])
    np.testing.assert_allclose(together, alone, atol=1e-4)
    for (x, y), rows in zip(places, together, strict=True):
        left, top, right, bottom, score = rows[0, :5]
        expected = (max(x - 16, 0), max(y - 16, 0), min(x + 16, 320), min(y + 16, 320))
        assert (left, top, right, bottom) == pytest.approx(expected, abs=1e-3)
        assert score == pytest.approx(1 / (1 + np.exp(-(4 * 3 * 127.5 / 128 - 4))), abs=1e-3)
        assert rows[0, 5:] == pytest.approx([x + 4, y + 4] * 5, abs=1e-3)
        assert np.all(np.diff(rows[:, 4]) <= 0) and not rows[rows[:, 4] < 0.05].any()


def test_the_decoder_keeps_the_best_of_neighbors() -> None:
    decoder = DenseDecoder(anchors=1, form="center")
    levels = []
    for stride in STRIDES:
        places = (64 // stride) ** 2
        levels += [torch.zeros(1, places, 1), torch.zeros(1, places, 4), torch.zeros(1, places, 10)]
    levels[0][0, 9:12, 0] = torch.tensor([0.6, 0.9, 0.7])  # cells (1, 1), (2, 1), (3, 1) of 8 x 8
    levels[1][0, :, 2:] = float(np.log(3))
    hw = torch.tensor([64, 64])
    rows = decoder(torch.zeros(1, 3, 64, 64), hw, torch.tensor([128, 128]), *levels)[0]
    assert rows[0, 4] == pytest.approx(0.9) and not rows[1:].any()
    assert rows[0, :4].tolist() == pytest.approx([8, 0, 56, 40])  # 2, 1 ± 1.5 strides of 8 px, twice, clipped


def test_what_is_no_such_detector_is_refused(detector_path: Path, scrfd: Path, tmp_path: Path) -> None:
    for named, says in (
        (f"yunet:{scrfd}", "not YuNet: expected the outputs"),
        (f"scrfd:{detector_path}", "not SCRFD with landmarks"),
        ("scrfd", "got 'scrfd', expected centerface, centerface:PATH, yunet:PATH"),
        ("viola-jones", "got 'viola-jones'"),
        ("insightface:no_such_pack", "insightface is not installed: pip install it"),
    ):
        with pytest.raises(DetectorError, match=says):
            detector_onnx(named, tmp_path / "d.onnx", 320)


def test_the_license_of_scrfds_weights_is_printed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    named = f"scrfd:{tmp_path / 'missing.onnx'}"
    assert resolve_detector(named) == ("scrfd", tmp_path / "missing.onnx")
    assert "non-commercial research only" in caplog.text
    assert cli.main(["export", "--untrained", "--detector", named, "--output", str(tmp_path / "r")]) == 1
    assert "deepfake-triton: InsightFace's published weights are for" in capsys.readouterr().err


def test_a_dense_detector_compiles(scrfd: Path, tmp_path: Path) -> None:
    graph = detector_onnx(f"scrfd:{scrfd}", tmp_path / "d.onnx", 320)
    options = EngineOptions(compute_capability="8.9")
    assert build_engine(graph, tmp_path / "d.plan", load_tensorrt("tensorrt-rtx"), options=options).profiles


@pytest.mark.skipif(not YUNET.is_file(), reason="the weights of YuNet are not at hand")
def test_yunet_finds_the_faces_that_centerface_finds(
    detector: Runner,
    portrait: Portrait,
    *,
    brief_clip: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    yunet = OnnxRunner(detector_onnx(f"yunet:{YUNET}", tmp_path / "d.onnx", 320))
    second = pasted(backdrop(360, 640), portrait.patch[:, ::-1], 400, 140)
    frames = np.stack([pasted(second, portrait.patch, 40 + 12 * index, 60) for index in range(16)])
    for batch in (frames[:1], frames):
        found = [run.infer({"frames": batch})["detections"] for run in (detector, yunet)]
        for ours, theirs in zip(*found, strict=True):
            for face in ours[:2]:
                assert face[4] > 0.5
                sure = [row for row in theirs if row[4] > 0.5]
                best = max(sure, key=lambda row, face=face: overlap(row[:4], face[:4]))  # type: ignore[misc]
                assert overlap(best[:4], face[:4]) > 0.5
                marks = np.linalg.norm((best[5:] - face[5:]).reshape(5, 2), axis=1)
                assert marks.max() < 0.2 * (face[2] - face[0])
    alone = np.concatenate([yunet.infer({"frames": frame[None]})["detections"] for frame in frames])
    np.testing.assert_allclose(yunet.infer({"frames": frames})["detections"], alone, atol=1e-3)
    arguments = ["export", "--output", str(tmp_path / "r"), "--detector", f"yunet:{YUNET}"]
    assert cli.main([*arguments, "--parity", str(brief_clip)]) == 0
    assert onnx.load(tmp_path / "r" / "face_detector" / "1" / "model.onnx").ir_version == 8
    assert "parity" in capsys.readouterr().out

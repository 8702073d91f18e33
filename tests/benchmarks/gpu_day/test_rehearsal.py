"""What is measured on the GPU host, on the CPU: the same commands from the known clip on."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deepfake_triton.benchmarks.gpu_day.__main__ import main
from deepfake_triton.benchmarks.gpu_day.known_clip import read_known_clip
from deepfake_triton.client import FrameBatch
from deepfake_triton.errors import InputError

pytestmark = pytest.mark.triton

NETWORKS = ["face_detector", "feature_extractor", "sequence_classifier"]


@pytest.fixture(scope="module")
def clip(default_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clip") / "clip.npz"
    assert main(["clip", str(default_repository), "--output", str(path)]) == 0
    return path


def figures(path: Path, what: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [line for line in lines if line["what"] == what]


def test_the_clip_has_the_frames_and_the_probability_of_one_face(clip: Path) -> None:
    known = read_known_clip(clip)
    assert isinstance(known.frames, FrameBatch) and len(known.frames) == 20
    (probability,) = known.probabilities
    assert 0 < probability < 0.3, "the demo's clip is REAL"


def test_a_served_repository_is_compared_and_measured(
    default_repository: Path, clip: Path, tmp_path: Path
) -> None:
    output = tmp_path / "served.jsonl"
    load = ["--seconds", "1.5", "--callers", "1,3", "--transports", "shared-memory"]
    assert main(["serve", str(default_repository), str(clip), "--output", str(output), *load]) == 0
    (environment,) = figures(output, "environment")
    assert environment["repository"] == "repository" and environment["versions"]["tritonclient"]
    assert figures(output, "started")[0]["seconds"] > 0
    (parity,) = figures(output, "parity")
    assert parity["passed"] and max(parity["worst_difference"]) < 1e-3
    assert len(parity["first_requests_ms"]) == 5
    alone, three = figures(output, "load")
    assert (alone["callers"], three["callers"], three["frames"]) == (1, 3, 20)
    for point in (alone, three):
        assert point["throughput_a_second"] > 0 and point["p50_ms"] <= point["p99_ms"]
        assert point["refused"] == 0 and "samples_ms" not in point


def test_answers_that_are_not_the_known_ones_fail(
    default_repository: Path, clip: Path, tmp_path: Path
) -> None:
    with np.load(clip) as held:
        wrong = {**held, "probabilities": held["probabilities"] + 0.1}
    np.savez(tmp_path / "wrong.npz", **wrong)
    output = tmp_path / "served.jsonl"
    arguments = ["serve", str(default_repository), str(tmp_path / "wrong.npz"), "--output", str(output)]
    load = ["--seconds", "0.5", "--callers", "1", "--transports", "shared-memory"]
    assert main([*arguments, *load]) == 1
    (parity,) = figures(output, "parity")
    assert not parity["passed"] and parity["worst_difference"][0] == pytest.approx(0.1, abs=1e-3)


def test_networks_are_timed_by_themselves_and_back_to_back(
    default_repository: Path, clip: Path, tmp_path: Path
) -> None:
    output = tmp_path / "networks.jsonl"
    options = ["--device", "cpu", "--rounds", "2", "--frames", "2", "--runtimes", "torch eager,ONNX Runtime"]
    assert main(["networks", str(default_repository), str(clip), "--output", str(output), *options]) == 0
    assert figures(output, "environment")[0]["device"] == "cpu"
    rows = figures(output, "network")
    for runtime in ("torch eager", "ONNX Runtime"):
        timed = [row for row in rows if (row["runtime"], row["precision"]) == (runtime, "fp32")]
        assert [row["network"] for row in timed] == NETWORKS
        assert all(row["passed"] and row["difference"] <= 0.01 and row["median_ms"] > 0 for row in timed)
        assert [row["rows"] for row in timed] == [2, 2, 1]
        (together,) = [
            line
            for line in figures(output, "back to back")
            if (line["runtime"], line["precision"]) == (runtime, "fp32")
        ]
        total_ms = sum(row["median_ms"] for row in timed)
        assert together["faces_a_second"] == pytest.approx(2000 / total_ms, rel=0.01)
    assert {row["precision"] for row in rows} == {"fp32"}, "FP16 by torch is for GPUs"


def test_what_cannot_be_timed_is_refused(default_repository: Path, clip: Path, tmp_path: Path) -> None:
    tail = [str(clip), "--output", str(tmp_path / "networks.jsonl")]
    with pytest.raises(InputError, match="got abacus, expected some of torch eager"):
        main(["networks", str(default_repository), *tail, "--runtimes", "abacus"])
    int8 = shutil.copytree(default_repository, tmp_path / "int8")
    report = int8 / "deepfake_detector/1/export_report.json"
    report.write_text(json.dumps({**json.loads(report.read_text()), "precision": "int8"}))
    with pytest.raises(InputError, match="is INT8, OpenVINO: export one in FP32 or FP16"):
        main(["networks", str(int8), *tail])

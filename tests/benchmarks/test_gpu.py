"""The benchmark for GPUs, on the CPU: the same code, the same check of answers."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from deepfake_triton.benchmarks import gpu

ROOT = Path(__file__).resolve().parents[2]


def test_each_runtime_is_timed_or_says_why_not(
    default_repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--device", "cpu", "--batches", "2", "--precisions", "fp32", "--rounds", "2"]
    options += ["--runtimes", "torch eager,ONNX Runtime,TensorRT-RTX"]  # compiling takes minutes on a CPU
    assert gpu.main([str(default_repository), *options, "--output", str(tmp_path)]) == 0
    result = json.loads((tmp_path / "gpu.json").read_text())
    assert set(result["networks"]) == {"face_detector", "feature_extractor", "sequence_classifier"}
    for network, rows in result["networks"].items():
        timed = {(row["runtime"], row["batch"]) for row in rows if "rows_a_second" in row}
        assert timed >= {("torch eager", 2), ("ONNX Runtime", 2)}, network
        assert all(row["difference"] <= 0.01 for row in rows if "difference" in row)
        reasons = {row["runtime"]: row["reason"] for row in rows if "reason" in row}
        assert "no GPU here" in reasons["TensorRT-RTX"] or "not installed" in reasons["TensorRT-RTX"]
    assert "## feature_extractor" in capsys.readouterr().out and (tmp_path / "gpu.svg").is_file()


def test_answers_that_differ_get_no_time(default_repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(gpu._MOST_DIFFERENCE, "fp32", -1.0)
    classifier = gpu.networks(default_repository, None, None)[2]
    rows = list(gpu.measure(classifier, "cpu", ["torch eager", "ONNX Runtime"], [1], ["fp32"], 2))
    assert not any("rows_a_second" in row for row in rows)
    assert any("answers differ by" in row["reason"] for row in rows)


def test_without_a_gpu_the_script_says_so(tmp_path: Path) -> None:
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\nexit 9\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    env = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run([ROOT / "benchmarks/gpu.sh"], capture_output=True, text=True, check=False, env=env)
    assert done.returncode == 1 and done.stderr == "error: nvidia-smi finds no GPU here\n"


def test_nan_and_moved_boxes_are_no_agreement(default_repository: Path) -> None:
    detector, _, classifier = gpu.networks(default_repository, None, None)
    wanted = {"fake_probability": np.full((2, 1), 0.5)}
    assert classifier.difference({"fake_probability": np.full((2, 1), 0.51)}, wanted) == pytest.approx(0.02)
    assert np.isnan(classifier.difference({"fake_probability": np.full((2, 1), np.nan)}, wanted))
    face = np.zeros((1, 32, 15))
    face[:, 0, :5] = 100, 100, 150, 160, 0.9
    for column, by, share in ((0, 5.0, 0.1), (4, 0.2, 0.2)):
        moved = face.copy()
        moved[:, 0, column] -= by
        assert detector.difference({"detections": moved}, {"detections": face}) == pytest.approx(share)


def test_an_unknown_runtime_is_named(default_repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert gpu.main([str(default_repository), "--device", "cpu", "--runtimes", "abacus"]) == 1
    assert "got abacus, expected some of torch eager" in capsys.readouterr().err

"""The benchmark for GPUs, on the CPU: the same code, the same check of answers."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from paths import ROOT

from deepfake_triton import cli
from deepfake_triton.benchmarks.measure import batch_sizes
from deepfake_triton.benchmarks.measure.batch_sizes import TimedRow, UntimedRow, measure_network
from deepfake_triton.benchmarks.measure.device_runtimes import TorchModule, runner_factories
from deepfake_triton.benchmarks.measure.networks import Network, load_networks
from deepfake_triton.benchmarks.report.report import Report
from deepfake_triton.benchmarks.suite.gpu import GpuResult
from deepfake_triton.models.stages import Stages


@pytest.fixture(scope="module")
def networks(default_repository: Path) -> Stages[Network]:
    return load_networks(default_repository, None, None)


@pytest.mark.compute
def test_each_runtime_is_timed_or_says_why_not(bench: Callable[..., Report]) -> None:
    options = ["--device", "cpu", "--batches", "2", "--precisions", "fp32", "--rounds", "2"]
    options += ["--runtimes", "torch eager,ONNX Runtime,TensorRT-RTX"]  # compiling takes minutes on a CPU
    report = bench("gpu", *options)
    result = report.result
    assert isinstance(result, GpuResult)
    assert set(result.networks) == {"face_detector", "feature_extractor", "sequence_classifier"}
    for name, rows in result.networks.items():
        timed = [row for row in rows if isinstance(row, TimedRow)]
        assert {(row.runtime, row.batch) for row in timed} >= {("torch eager", 2), ("ONNX Runtime", 2)}, name
        assert all(row.difference <= 0.01 for row in timed)
        reasons = {row.runtime: row.reason for row in rows if isinstance(row, UntimedRow)}
        assert "no GPU here" in reasons["TensorRT-RTX"] or "not installed" in reasons["TensorRT-RTX"]
    assert "## feature_extractor" in report.markdown()


@pytest.mark.compute
def test_answers_that_differ_get_no_time(networks: Stages[Network], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(batch_sizes.MAX_DIFFERENCE, "fp32", -1.0)
    factories = runner_factories("cpu", 1)
    rows = list(
        measure_network(
            networks.classifier,
            TorchModule(networks.classifier, "cpu", "fp32", compiled=False),
            {name: factories[name] for name in ("torch eager", "ONNX Runtime")},
            precisions=["fp32"],
            batches=[1],
            rounds=2,
        )
    )
    assert len(rows) == 2
    assert all(isinstance(row, UntimedRow) and "answers differ by" in row.reason for row in rows)


@pytest.mark.triton
def test_without_a_gpu_the_script_says_so(tmp_path: Path) -> None:
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\nexit 9\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    env = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run([ROOT / "benchmarks/gpu.sh"], capture_output=True, text=True, check=False, env=env)
    assert done.returncode == 1 and done.stderr == "error: nvidia-smi finds no GPU here\n"


@pytest.mark.compute
def test_nan_and_shifted_boxes_are_no_agreement(networks: Stages[Network]) -> None:
    detector, _, classifier = networks
    wanted = {"fake_probability": np.full((2, 1), 0.5)}
    assert classifier.difference({"fake_probability": np.full((2, 1), 0.51)}, wanted) == pytest.approx(0.02)
    assert np.isnan(classifier.difference({"fake_probability": np.full((2, 1), np.nan)}, wanted))
    face = np.zeros((1, 32, 15))
    face[:, 0, :5] = 100, 100, 150, 160, 0.9
    for column, by, share in ((0, 5.0, 0.1), (4, 0.2, 0.2)):
        shifted = face.copy()
        shifted[:, 0, column] -= by
        assert detector.difference({"detections": shifted}, {"detections": face}) == pytest.approx(share)


@pytest.mark.compute
def test_an_unknown_runtime_is_named(default_repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["bench", "gpu", str(default_repository), "--device", "cpu", "--runtimes", "abacus"]
    assert cli.main(arguments) == 1
    assert "got abacus, expected some of torch eager" in capsys.readouterr().err

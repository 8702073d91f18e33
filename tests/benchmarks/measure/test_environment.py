from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import onnxruntime
import pytest

from deepfake_triton.benchmarks.measure.environment import Environment, read_environment

pytestmark = pytest.mark.fast


def test_the_build_of_onnx_runtime_that_runs_is_named_whatever_pip_knows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = tmp_path / "onnxruntime_gpu-9.9.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: onnxruntime-gpu\nVersion: 9.9.0\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    builds = {
        name: version
        for name, version in read_environment().versions.items()
        if name.startswith("onnxruntime")
    }
    assert list(builds.values()) == [onnxruntime.__version__] and "onnxruntime-gpu" not in builds


def test_without_onnx_runtime_no_version_is_claimed(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("onnxruntime", "onnxruntime.capi", "onnxruntime.capi.build_and_package_info"):
        monkeypatch.setitem(sys.modules, name, None)
    versions = read_environment().versions
    assert not [name for name in versions if name.startswith("onnxruntime")] and versions["numpy"]


def test_a_gpu_is_told_with_its_driver_and_survives_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    without = read_environment()
    assert without.gpu is None and "gpu" not in without.to_json()
    (tmp_path / "nvidia-smi").write_text('#!/bin/sh\necho "NVIDIA L4, 23034, 580.1"\n')
    (tmp_path / "nvidia-smi").chmod(0o755)
    environment = read_environment()
    assert "NVIDIA L4, 23034 MiB, driver 580.1" in environment.summary
    assert Environment.from_json(environment.to_json()) == environment
    assert Environment.from_json(without.to_json()) == replace(without, gpu=None)

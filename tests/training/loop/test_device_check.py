"""The trial of a device, on the CPU, which agrees with itself."""

from __future__ import annotations

from pathlib import Path

import pytest
from drawn_portraits import drawn_portraits

from deepfake_triton.training.faces.portrait_file import PictureQuality, write_portrait_file
from deepfake_triton.training.loop.device_check import DeviceCheck, main

pytestmark = pytest.mark.compute


def test_the_cpu_agrees_with_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "people.faces"
    people = {"train": drawn_portraits(2)}
    write_portrait_file(file, people, manifest_sha256="0" * 64, quality=PictureQuality())  # type: ignore[arg-type]
    options = ["--device", "cpu", "--pairs", "4", "--seconds", "0.01", "--crop-side", "32"]
    assert main([str(file), *options]) == 0
    printed = capsys.readouterr().out
    assert "differs from the CPU by 0.000 gray levels" in printed and "crops/s" in printed
    assert "made 0 crops/s" not in printed


def test_a_device_is_fit_when_it_agrees_and_nothing_waits() -> None:
    assert DeviceCheck(0.3, None, 1.0, 1.0).is_fit
    assert not DeviceCheck(1.3, None, 1.0, 1.0).is_fit
    assert not DeviceCheck(0.3, "forging.py:3", 1.0, 1.0).is_fit

"""The trial of a device, on the CPU, which agrees with itself."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from drawn_portraits import drawn_portraits

from deepfake_triton.dataset_manifest import Split
from deepfake_triton.training.device.generator import PairGenerator
from deepfake_triton.training.device.pair_table import PairTable
from deepfake_triton.training.faces.portrait_file import PictureQuality, write_portrait_file
from deepfake_triton.training.faces.portraits import Portrait
from deepfake_triton.training.loop import device_check
from deepfake_triton.training.loop.device_check import DeviceCheck, main

pytestmark = pytest.mark.compute


def test_the_cpu_agrees_with_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "people.faces"
    people: dict[Split, list[Portrait]] = {"train": drawn_portraits(2)}
    write_portrait_file(file, people, manifest_sha256="0" * 64, quality=PictureQuality())
    options = ["--device", "cpu", "--pairs", "4", "--seconds", "0.01", "--crop-side", "32"]
    assert main([str(file), *options]) == 0
    printed = capsys.readouterr().out
    assert "differs from the CPU by 0.000 gray levels" in printed and "crops/s" in printed
    assert "made 0 crops/s" not in printed


def test_a_device_that_makes_other_pairs_is_not_fit(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[PairTable] = []

    def darker(generator: PairGenerator, table: PairTable) -> torch.Tensor:
        compared.append(table)
        crops = generator.make(table).crops.float()
        return crops - 3 * (len(compared) - 1)

    monkeypatch.setattr(device_check, "_crops", darker)
    file = tmp_path / "people.faces"
    people: dict[Split, list[Portrait]] = {"train": drawn_portraits(2)}
    write_portrait_file(file, people, manifest_sha256="0" * 64, quality=PictureQuality())
    options = ["--device", "cpu", "--pairs", "2", "--seconds", "0.01", "--crop-side", "32"]
    assert main([str(file), *options]) == 1
    assert "differs from the CPU by 3.000 gray levels" in capsys.readouterr().out
    assert len(compared) == 2 and not compared[0]["noise"].any()
    for name in ("motion_blur", "earlier_quality", "jpeg_quality", "h264_crf"):
        assert compared[0][name].any(), name
    assert (compared[0]["chroma_scale"] < 1).any()


def test_a_device_is_fit_when_it_agrees_and_nothing_waits() -> None:
    assert DeviceCheck(0.3, None, 1.0, 1.0).is_fit
    assert not DeviceCheck(1.3, None, 1.0, 1.0).is_fit
    assert not DeviceCheck(0.3, "forging.py:3", 1.0, 1.0).is_fit

"""The portraits that INT8 is calibrated on by default, and their notice."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from deepfake_triton.errors import CalibrationError
from deepfake_triton.export.quantization import calibration
from deepfake_triton.export.quantization.calibration import bundled_portraits

pytestmark = pytest.mark.fast


def test_the_notice_names_every_portrait_and_the_license() -> None:
    folder = bundled_portraits()
    notice = (folder / "NOTICE.txt").read_text()
    named = {
        f"{number}_{suffix}.jpg"
        for suffix, numbers in re.findall(r"NNN_(\d\d)\.jpg: ([\d,\s]+)", notice)
        for number in re.findall(r"\d{3}", numbers)
    }
    photos = [path for path in folder.iterdir() if path.name != "NOTICE.txt"]
    assert named == {path.name for path in photos} and len(photos) == 40
    assert "CC BY 4.0" in notice and "https://doi.org/10.6084/m9.figshare.5047666" in notice
    assert sum(path.stat().st_size for path in photos) < 1e6


def test_no_portrait_holds_metadata() -> None:
    for path in bundled_portraits().glob("*.jpg"):
        assert b"Exif" not in path.read_bytes()[:4096] and b"http" not in path.read_bytes()[:4096]


def test_a_person_has_one_portrait() -> None:
    numbers = [path.name[:3] for path in bundled_portraits().glob("*.jpg")]
    assert len(set(numbers)) == len(numbers)


def test_without_the_portraits_the_error_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calibration, "BUNDLED_PORTRAITS", tmp_path)
    with pytest.raises(CalibrationError, match=r"are not installed, .*; name videos, photos or folders"):
        bundled_portraits()

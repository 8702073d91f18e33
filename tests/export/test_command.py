"""What `export` says of a version that it wrote."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from deepfake_triton import cli
from deepfake_triton.export.command import summary_text
from deepfake_triton.repository.export_report import ExportReport
from deepfake_triton.repository.report_sections import CalibrationReport, ParityCase, ParityReport

pytestmark = pytest.mark.fast

REPORT = ExportReport(1, precision="int8", parity=ParityReport(cases=(ParityCase(1, 1, 0.0, 0.01),)))


def test_calibration_on_bundled_portraits_is_warned_of() -> None:
    bundled = replace(REPORT, calibration=CalibrationReport(bundled=True, faces=40))
    (warning,) = [line for line in summary_text(bundled).splitlines() if "warning" in line]
    assert "40 studio portraits" in warning and "--calibration PATH" in warning


def test_calibration_on_own_files_is_not() -> None:
    own = replace(REPORT, calibration=CalibrationReport(bundled=False, faces=256, unused=3))
    assert "warning" not in summary_text(own) and "warning" not in summary_text(REPORT)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--calibration", "nowhere"], "--calibration nowhere: no such file or folder"),
        (["--calibration-samples", "5"], "--calibration-samples: got 5, expected at least 32"),
    ],
)
def test_auto_refuses_what_int8_cannot_be_calibrated_on(
    options: list[str], says: str, *, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "repository"
    assert cli.main(["export", "--precision", "auto", "--output", str(output), *options]) != 0
    assert says in capsys.readouterr().err and not output.exists()

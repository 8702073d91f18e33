"""What `export` says of a version that it wrote."""

from __future__ import annotations

from dataclasses import replace

import pytest

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

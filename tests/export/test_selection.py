"""The choice of `--precision auto`: what is tried on which CPU, and which of it is written."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import onnxruntime
import pytest

from deepfake_triton.errors import ParityError
from deepfake_triton.export import selection
from deepfake_triton.export.checks import CheckReports, run_checks
from deepfake_triton.export.options import ExportOptions, Int8, OnnxRuntimeEngine, ParityOptions
from deepfake_triton.export.pipeline import export
from deepfake_triton.export.precisions import LoweredGraphs
from deepfake_triton.export.selection import candidates_for_cpu
from deepfake_triton.models.default_checkpoint import default_checkpoint
from deepfake_triton.models.stages import Stages
from deepfake_triton.repository.export_report import REPORT_NAME, read_report

PLAIN, OPENVINO = "CPUExecutionProvider", "OpenVINOExecutionProvider"


@pytest.mark.fast
@pytest.mark.parametrize(
    ("providers", "bf16", "vnni", "int8", "expected"),
    [
        ([PLAIN], True, True, True, ["fp32 None"]),
        ([OPENVINO, PLAIN], False, False, True, ["fp32 None", "fp32 openvino"]),
        ([OPENVINO, PLAIN], True, True, False, ["fp32 None", "fp32 openvino", "bf16 openvino"]),
        ([OPENVINO, PLAIN], False, True, True, ["fp32 None", "fp32 openvino", "int8 openvino"]),
    ],
    ids=["plain", "old CPU", "without INT8", "VNNI"],
)
def test_what_is_installed_and_fits_the_cpu_is_tried(
    monkeypatch: pytest.MonkeyPatch,
    *,
    providers: list[str],
    bf16: bool,
    vnni: bool,
    int8: bool,
    expected: list[str],
) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: providers)
    monkeypatch.setattr(selection, "has_bf16", lambda: bf16)
    monkeypatch.setattr(selection, "has_vnni", lambda: vnni)
    found = candidates_for_cpu(ExportOptions(Path("r")), Int8() if int8 else None)
    assert [f"{each.precision.name} {each.engine.accelerator}" for each in found] == expected


@pytest.mark.compute
def test_the_fastest_that_passes_is_written_and_the_others_are_told(
    brief_clip: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The fastest is refused here, so that the next one is written."""
    asked: list[ExportOptions] = []
    check = run_checks

    def refuse_first(*arguments: object, options: ExportOptions, **named: object) -> CheckReports:
        asked.append(options)
        if len(asked) == 1:
            raise ParityError("answers otherwise")
        return check(*arguments, options=options, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(selection, "run_checks", refuse_first)
    options = ExportOptions(tmp_path / "repository", parity=ParityOptions(brief_clip))
    candidates = candidates_for_cpu(options)
    report = export(*candidates)
    first, second, *others = report.tried
    assert len(report.tried) == len(candidates) and len(asked) == 2
    assert first.refused == "answers otherwise" and not second.refused
    assert (report.precision, report.accelerator) == (second.precision, second.accelerator)
    times = [each.clip_ms for each in report.tried]
    assert times == sorted(times) and times[0] > 0 and not any(each.refused for each in others)
    assert read_report(options.output / REPORT_NAME) == report


@pytest.mark.compute
def test_what_cannot_be_calibrated_is_left_out(
    brief_clip: Path, caplog: pytest.LogCaptureFixture, *, tmp_path: Path
) -> None:
    options = ExportOptions(tmp_path / "repository", parity=ParityOptions(brief_clip))
    without_faces = Int8((tmp_path,))
    report = export(options, replace(options, precision=without_faces))
    assert [each.precision for each in report.tried] == ["fp32"] and report.precision == "fp32"
    assert "int8 is left out: --calibration" in caplog.text


@pytest.mark.fast
def test_where_none_passes_the_last_one_s_reason_is_raised(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object, options: ExportOptions, **__: object) -> CheckReports:
        raise ParityError(f"{options.engine.accelerator} answers otherwise")

    monkeypatch.setattr(selection, "run_checks", refuse)
    monkeypatch.setattr(selection, "_lower", lambda *_: LoweredGraphs(None))  # type: ignore[arg-type]
    monkeypatch.setattr(selection, "_clip_times_ms", lambda *_: [2.0, 1.0])
    plain = ExportOptions(Path("r"))
    openvino = ExportOptions(Path("r"), engine=OnnxRuntimeEngine(openvino=True))
    graphs = Stages(detector=Path("d"), extractor=Path("e"), classifier=Path("c"))
    with pytest.raises(ParityError, match="None answers otherwise"):
        selection.select_fastest((plain, openvino), default_checkpoint(), graphs, gate_clips=None)

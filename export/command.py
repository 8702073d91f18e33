"""`deepfake-triton export`: a checkpoint becomes a model repository."""

from __future__ import annotations

import argparse
import sys

from deepfake_triton.console.logs import warnings_on_stderr
from deepfake_triton.export.arguments import AUTO, configure, int8_from, options_from
from deepfake_triton.export.options import ExportOptions, Int8
from deepfake_triton.repository.export_report import ExportReport
from deepfake_triton.repository.report_sections import CandidateReport

__all__ = ["configure", "run"]


def run(args: argparse.Namespace) -> int:
    """Export, and print what was written."""
    from deepfake_triton.export.repository.layout import require_writable
    from deepfake_triton.host.onnx_runtime import conflicting_builds_warning

    require_writable(args.output)  # before torch is loaded
    options = options_from(args)
    if advice := conflicting_builds_warning():
        print(f"deepfake-triton: {advice}", file=sys.stderr)
    from deepfake_triton.export.pipeline import export
    from deepfake_triton.repository.signature import warn_of_lost_signature

    candidates = _candidates(options, int8_from(args)) if args.precision == AUTO else (options,)
    with (
        warn_of_lost_signature(args.output),
        warnings_on_stderr("deepfake_triton.models", "deepfake_triton.export"),
    ):
        report = export(*candidates)
    print(f"wrote version {report.version} to {args.output}")
    print(summary_text(report))
    return 0


def _candidates(options: ExportOptions, int8: Int8) -> tuple[ExportOptions, ...]:
    """Return what this CPU may serve. Raises CalibrationError for files that do not exist, which would only
    leave INT8 out."""
    from deepfake_triton.export.quantization.calibration import calibration_files
    from deepfake_triton.export.selection import candidates_for_cpu

    calibration_files(int8.calibration, int8.samples)
    candidates = candidates_for_cpu(options, int8)
    if int8.calibration and int8 not in [each.precision for each in candidates]:
        print(
            "deepfake-triton: --calibration is not used: INT8 needs OpenVINO and a CPU with VNNI",
            file=sys.stderr,
        )
    return candidates


def _candidate_text(candidate: CandidateReport) -> str:
    name = ", ".join(filter(None, (candidate.precision, candidate.accelerator or "plain provider")))
    return f"{name}: {candidate.clip_ms:.0f} ms a clip" + (
        f"; refused: {candidate.refused}" if candidate.refused else ""
    )


def summary_text(report: ExportReport) -> str:
    """Return the lines that describe a written version."""
    checkpoint, parity = report.checkpoint, report.parity
    worst = parity.max_probability_difference
    accelerator = f", {report.accelerator}" if report.accelerator else ""
    lines = [
        f"  engine      {report.engine}, {report.precision}{accelerator}",
        f"  checkpoint  {checkpoint.layout} layout, {checkpoint.source}",
        f"  parity      {parity.crops}: probabilities within {worst:.1e} of torch",
    ]
    if report.fallback_parity:
        lines.append("  note        NVIDIA's C++ backend computes these graphs in FP32")
    lines += [f"  tried       {_candidate_text(candidate)}" for candidate in report.tried]
    if any(model.runs_on == ("tensorrt-rtx",) for model in report.models.values()):
        lines.append(
            "  warning     compiled by TensorRT-RTX: Triton's TensorRT backend does not load these engines"
        )
    if gate := report.gate:
        lines.append(
            f"  gate        {gate.clips} labeled clips: AUC {gate.auc:.4f}, "
            f"torch {gate.reference_auc:.4f}; {gate.flipped:.1%} of verdicts flipped"
        )
    if report.calibration and report.calibration.bundled:
        lines.append(
            f"  warning     INT8 is calibrated on {report.calibration.faces} studio portraits that come with "
            "the package; your own footage is better: name some with --calibration PATH…"
        )
    if checkpoint.weights == "untrained":
        lines.append("  warning     untrained weights: every verdict of this repository means nothing")
    return "\n".join(lines)

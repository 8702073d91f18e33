"""`deepfake-triton export`: a checkpoint becomes a model repository."""

from __future__ import annotations

import argparse
import sys

from deepfake_triton.console.logs import warnings_on_stderr
from deepfake_triton.export.arguments import configure, options_from
from deepfake_triton.repository.export_report import ExportReport

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

    with warn_of_lost_signature(args.output), warnings_on_stderr("deepfake_triton.models"):
        report = export(options)
    print(f"wrote version {report.version} to {args.output}")
    print(summary_text(report))
    return 0


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
    if any(model.runs_on == ("tensorrt-rtx",) for model in report.models.values()):
        lines.append(
            "  warning     compiled by TensorRT-RTX: Triton's TensorRT backend does not load these engines"
        )
    if gate := report.gate:
        lines.append(
            f"  gate        {gate.clips} labeled clips: AUC {gate.auc:.4f}, "
            f"torch {gate.reference_auc:.4f}; {gate.flipped:.1%} of verdicts flipped"
        )
    if checkpoint.weights == "untrained":
        lines.append("  warning     untrained weights: every verdict of this repository means nothing")
    return "\n".join(lines)

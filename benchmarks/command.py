"""`deepfake-triton bench`: measure, write the report, and print its table."""

from __future__ import annotations

import argparse

from deepfake_triton.benchmarks.measure.environment import read_environment
from deepfake_triton.benchmarks.options import configure
from deepfake_triton.benchmarks.report.report import Report, write_report
from deepfake_triton.benchmarks.suite.registry import BENCHMARKS
from deepfake_triton.console.logs import warnings_on_stderr

__all__ = ["configure", "run"]


def run(args: argparse.Namespace) -> int:
    """Run one benchmark, write its report, and print it."""
    environment = read_environment()
    with warnings_on_stderr(
        "deepfake_triton.benchmarks", "deepfake_triton.models", "deepfake_triton.serving"
    ):
        result = BENCHMARKS[args.benchmark].run(args)
    report = Report(args.benchmark, environment, result)
    write_report(report, args.output)
    print(report.markdown())
    return 0

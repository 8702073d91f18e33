"""`deepfake-triton calibrate`: fit Platt calibration and operating points to one's own videos."""

from __future__ import annotations

import argparse
from pathlib import Path

from deepfake_triton.cli_types import path_with_suffix
from deepfake_triton.files.outputs import OutputFile, prepare_outputs


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "checkpoint", type=Path, metavar="CHECKPOINT", help="checkpoint written by `train` (.safetensors)"
    )
    parser.add_argument(
        "--evaluation",
        type=Path,
        required=True,
        metavar="JSON",
        help="evaluation.json of this checkpoint as served, on any split but test",
    )
    parser.add_argument(
        "--output",
        type=path_with_suffix(".safetensors"),
        required=True,
        metavar="FILE.safetensors",
        help="the calibrated checkpoint to write",
    )


def run(args: argparse.Namespace) -> int:
    """Write the calibrated checkpoint, and print what changed."""
    from deepfake_triton.operating_point import points_from_thresholds
    from deepfake_triton.training.evaluation.recalibration import recalibrate

    prepare_outputs((args.checkpoint, args.evaluation), [OutputFile("--output", args.output)])
    found = recalibrate(args.checkpoint, args.evaluation, args.output)
    print(f"{args.output}: calibrated on {found.clips} clips")
    print(f"  calibration error on them {found.error_before:.3f}, now {found.error_after:.3f}")
    calibration = found.calibration
    for point in points_from_thresholds(calibration.operating_points, calibration.real_at_most):
        print(f"  {point}")
    return 0

"""`deepfake-triton calibrate`: probabilities and operating points that fit videos of one's own."""

from __future__ import annotations

import argparse
from pathlib import Path


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("checkpoint", type=Path, metavar="CHECKPOINT", help="safetensors of `train`")
    parser.add_argument(
        "--evaluation",
        type=Path,
        required=True,
        metavar="JSON",
        help="evaluation.json of this checkpoint, as served, on a split that is not test",
    )
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="the new checkpoint")


def run(args: argparse.Namespace) -> int:
    """Write the checkpoint, and say what changed."""
    from deepfake_triton.training.recalibration import recalibrate

    found = recalibrate(args.checkpoint, args.evaluation, args.output)
    print(f"{args.output}: calibrated on {found['calibrated_on']['clips']} clips")
    print(
        f"  calibration error on them {found['calibration_error_before']:.3f}, "
        f"now {found['calibration_error_after']:.3f}"
    )
    print(f"  operating points {found['operating_points']}")
    return 0

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
        action="append",
        required=True,
        metavar="JSON",
        help="evaluation.json of this checkpoint as served, such as on --split val,transfer-even, as it is "
        "and compressed, and on no clip of train, test or transfer-odd; may be given several times",
    )
    parser.add_argument(
        "--output",
        type=path_with_suffix(".safetensors"),
        required=True,
        metavar="FILE.safetensors",
        help="the calibrated checkpoint to write",
    )
    parser.add_argument(
        "--least-found",
        nargs=2,
        type=_share,
        default=(0.0, 0.0),
        metavar=("CLEAN", "COMPRESSED"),
        help="shares of the fakes to call FAKE at least at `balanced`, such as what the weights before find "
        "of the same clips (default: 0 0)",
    )


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"got {text!r}, expected a share from 0 to 1")
    return value


def run(args: argparse.Namespace) -> int:
    """Write the calibrated checkpoint, and print what changed and which aims are missed."""
    from deepfake_triton.operating_point import points_from_thresholds
    from deepfake_triton.training.evaluation.calibration.borders import BorderAims
    from deepfake_triton.training.evaluation.calibration.recalibration import recalibrate
    from deepfake_triton.training.evaluation.calibration.report import cells_table

    prepare_outputs((args.checkpoint, *args.evaluation), [OutputFile("--output", args.output)])
    found_clean, found_compressed = args.least_found
    aims = BorderAims(found_clean=found_clean, found_compressed=found_compressed)
    found = recalibrate(args.checkpoint, args.evaluation, args.output, aims=aims)
    print(f"{args.output}: calibrated on {found.clips} clips, {found.scores} scores")
    print(f"  calibration error on them {found.error_before:.3f}, now {found.error_after:.3f}")
    calibration = found.calibration
    for point in points_from_thresholds(calibration.operating_points, calibration.real_at_most):
        print(f"  {point}")
    print("\n".join(cells_table(found.borders.cells)))
    for text in found.borders.missed_aims:
        print(f"  aim missed: {text}")
    return 0

"""`deepfake-triton forge`: write the fake counterpart of a video, for demonstrations and tests."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Literal

from deepfake_triton.cli_types import path_with_suffix
from deepfake_triton.contracts import DEFAULT_DETECTOR_SIZE
from deepfake_triton.files.outputs import OutputFile, prepare_outputs

DEFAULT_KIND: Literal["self-blend"] = "self-blend"
DEFAULT_SEED, DEFAULT_STRENGTH = 0, 1.0


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("video", type=Path, metavar="VIDEO", help="video that shows a face")
    parser.add_argument(
        "--output",
        type=path_with_suffix(".mp4"),
        required=True,
        metavar="FILE.mp4",
        help="the forged video to write",
    )
    parser.add_argument(
        "--control",
        type=path_with_suffix(".mp4"),
        metavar="FILE.mp4",
        help="also write the unchanged frames through the same encoder, for comparison",
    )
    parser.add_argument(
        "--kind",
        choices=(DEFAULT_KIND, "reenact", "mouth", "swap"),
        default="self-blend",
        help="method of forgery (default: %(default)s); swap needs --donor",
    )
    parser.add_argument(
        "--donor", type=Path, metavar="PHOTO", help="photo or video of the person whose face is swapped in"
    )
    parser.add_argument(
        "--seed",
        type=int,
        default=DEFAULT_SEED,
        help="random seed of the forgery recipe (default: %(default)s)",
    )
    parser.add_argument(
        "--strength",
        type=float,
        default=DEFAULT_STRENGTH,
        help="how much the forged face differs from the original (default: %(default)s)",
    )


def run(args: argparse.Namespace) -> int:
    """Forge the video, and print what was written."""
    import numpy as np

    from deepfake_triton.dataset_manifest import ManifestRow
    from deepfake_triton.errors import DatasetError
    from deepfake_triton.models.detectors.build import load_default_detector
    from deepfake_triton.training.faces.portraits import extract_portraits
    from deepfake_triton.training.forgery.blending import Donor
    from deepfake_triton.training.forgery.forge import forge_video
    from deepfake_triton.training.forgery.recipe import sample_recipe

    if (args.kind == "swap") != (args.donor is not None):
        raise DatasetError("--kind swap and --donor belong together: name a photo of another person")
    outputs = [OutputFile("--output", args.output)]
    if args.control:
        outputs.append(OutputFile("--control", args.control))
    prepare_outputs([path for path in (args.video, args.donor) if path], outputs)
    detector = load_default_detector(DEFAULT_DETECTOR_SIZE)
    donor = None
    if args.donor:
        row = ManifestRow(str(args.donor), "real", "donor", "", "", "", "test")
        portraits, faults = extract_portraits([row], Path(), detector)
        if not portraits:
            raise DatasetError(f"{args.donor}: no donor: {faults[row.path]}")
        donor = Donor(portraits[0].pixels, portraits[0].landmarks)
    recipe = sample_recipe(np.random.default_rng(args.seed), args.strength, args.kind)
    forged = forge_video(
        args.video, args.output, recipe, detector=detector, donor=donor, control=args.control
    )
    print(f"{args.output}: {args.kind}, {forged.forged} of {forged.frames} frames forged, no sound")
    return 0

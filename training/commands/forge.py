"""`deepfake-triton forge`: write the fake counterpart of a video, for demonstrations and tests."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from deepfake_triton.cli_types import path_with_suffix
from deepfake_triton.contracts import DEFAULT_DETECTOR_SIZE
from deepfake_triton.files.outputs import OutputFile, prepare_outputs
from deepfake_triton.training.forgery.kinds import KINDS, Kind

if TYPE_CHECKING:
    from deepfake_triton.training.forgery.recipe import ForgeryRecipe

DEFAULT_KIND: Kind = "self-blend"
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
        choices=KINDS,
        default=DEFAULT_KIND,
        help="method of forgery (default: %(default)s); swap needs --donor, and regenerate may have one",
    )
    parser.add_argument(
        "--donor", type=Path, metavar="PHOTO", help="photo or video of the person whose face is swapped in"
    )
    parser.add_argument(
        "--temporal",
        action="store_true",
        help="let the forgery flicker from frame to frame, drop out and jump",
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
    from deepfake_triton.dataset_manifest import ManifestRow
    from deepfake_triton.errors import DatasetError
    from deepfake_triton.models.detectors.build import load_default_detector
    from deepfake_triton.training.faces.portraits import extract_portraits
    from deepfake_triton.training.forgery.blending import Donor
    from deepfake_triton.training.forgery.forge import forge_video

    if args.kind == "swap" and not args.donor:
        raise DatasetError("--kind swap and --donor belong together: name a photo of another person")
    if args.donor and args.kind not in ("swap", "regenerate"):
        raise DatasetError(f"--donor: got it with --kind {args.kind}, expected --kind swap or regenerate")
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
    forged = forge_video(
        args.video, args.output, _draw_recipe(args), detector=detector, donor=donor, control=args.control
    )
    print(f"{args.output}: {args.kind}, {forged.forged} of {forged.frames} frames forged, no sound")
    return 0


def _draw_recipe(args: argparse.Namespace) -> ForgeryRecipe:
    """Draw the recipe; a face is regenerated as another person's if there is a donor."""
    import numpy as np

    from deepfake_triton.training.forgery.recipe import sample_recipe

    rng = np.random.default_rng(args.seed)
    recipe = sample_recipe(rng, args.strength, args.kind, temporal=args.temporal)
    if recipe.regeneration is None:
        return recipe
    return replace(recipe, regeneration=replace(recipe.regeneration, other_person=args.donor is not None))

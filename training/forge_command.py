"""`deepfake-triton forge`: a forged twin of a video, for demonstrations and tests."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Literal

from deepfake_triton.contracts import DEFAULT_DETECTOR_SIZE

DEFAULT_KIND: Literal["self-blend"] = "self-blend"
DEFAULT_SEED, DEFAULT_STRENGTH = 0, 1.0


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("video", type=Path, metavar="VIDEO", help="a video with a face")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="the twin, an MP4")
    parser.add_argument(
        "--control", type=Path, metavar="FILE", help="also the untouched frames, by the same encoder"
    )
    parser.add_argument(
        "--kind",
        choices=(DEFAULT_KIND, "reenact", "mouth", "swap"),
        default="self-blend",
        help="default: %(default)s; swap needs a --donor",
    )
    parser.add_argument("--donor", type=Path, metavar="PHOTO", help="photo or video of another person")
    parser.add_argument("--seed", type=int, default=DEFAULT_SEED, help="of the recipe (%(default)s)")
    parser.add_argument(
        "--strength", type=float, default=DEFAULT_STRENGTH, help="how much it differs (%(default)s)"
    )


def run(args: argparse.Namespace) -> int:
    """Forge, and say what was written."""
    import numpy as np

    from deepfake_triton.errors import DatasetError
    from deepfake_triton.export.detector import default_detector
    from deepfake_triton.manifest import ManifestRow
    from deepfake_triton.training.forge import forge_video
    from deepfake_triton.training.forgeries import sampled_recipe
    from deepfake_triton.training.portraits import portraits_of_rows

    if (args.kind == "swap") != (args.donor is not None):
        raise DatasetError("--kind swap and --donor belong together: name a photo of another person")
    detector, _ = default_detector(DEFAULT_DETECTOR_SIZE)
    donor = None
    if args.donor:
        row = ManifestRow(str(args.donor), "real", "donor", "", "", "", "test")
        portraits, faults = portraits_of_rows([row], Path(), detector)
        if not portraits:
            raise DatasetError(f"{args.donor}: no donor: {faults[row.path]}")
        donor = (portraits[0].pixels, portraits[0].landmarks)
    recipe = sampled_recipe(np.random.default_rng(args.seed), args.strength, args.kind)
    made = forge_video(args.video, args.output, recipe, detector, donor, args.control)
    print(f"{args.output}: {args.kind}, {made.forged} of {made.frames} frames forged, no sound")
    return 0

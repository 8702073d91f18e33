"""The options that override a checkpoint's metadata on the command line."""

from __future__ import annotations

import argparse

from deepfake_triton.cli_types import comma_separated
from deepfake_triton.models.metadata_overrides import MetadataOverrides


def add_metadata_options(parser: argparse._ActionsContainer) -> None:
    """Declare an option for each field that a file may lack, or have wrong."""
    parser.add_argument(
        "--temporal",
        choices=("per-frame", "sequence"),
        help="whether the LSTM runs over single frames or clips",
    )
    parser.add_argument("--pooling", choices=("last", "mean"), help="the last frame's output, or the mean")
    parser.add_argument("--label-order", choices=("fake-real", "real-fake"), help="order of the two logits")
    parser.add_argument(
        "--channel-order", choices=("bgr", "rgb"), help="channel order of the training images"
    )
    parser.add_argument(
        "--mean", type=comma_separated(float, 3), metavar="A,B,C", help="channel means, in channel order, 0…1"
    )
    parser.add_argument(
        "--std",
        type=comma_separated(float, 3),
        metavar="A,B,C",
        help="channel standard deviations, in channel order, 0…1",
    )
    parser.add_argument("--crop-side", type=int, metavar="PX", help="side of the face crops")
    parser.add_argument(
        "--crop-margin", type=float, metavar="SHARE", help="margin around the face box, in sides of the box"
    )
    parser.add_argument(
        "--lstm-bias",
        choices=("auto", "drop", "require"),
        default="auto",
        help="auto uses the biases that are there; the published LSTM has none",
    )


def overrides_from(args: argparse.Namespace) -> MetadataOverrides:
    """Return what the parsed command line overrides."""
    return MetadataOverrides(
        temporal=args.temporal,
        pooling=args.pooling,
        label_order=args.label_order,
        channel_order=args.channel_order,
        mean=args.mean,
        std=args.std,
        crop_side=args.crop_side,
        crop_margin=args.crop_margin,
    )

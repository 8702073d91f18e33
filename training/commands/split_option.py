"""The option `--split` of commands that read a part of a manifest."""

from __future__ import annotations

import argparse

from deepfake_triton.dataset_manifest import ALL, SPLIT_CHOICES


def add_split_option(parser: argparse.ArgumentParser, *, with_all: bool = False) -> None:
    """Declare `--split`, one or more of `SPLIT_CHOICES`, and `all` where that is allowed."""
    choices = (*SPLIT_CHOICES, ALL) if with_all else SPLIT_CHOICES

    def splits(text: str) -> tuple[str, ...]:
        names = tuple(text.split(","))
        unknown = [name for name in names if name not in choices]
        if unknown or len(set(names)) < len(names):
            raise argparse.ArgumentTypeError(
                f"got {text!r}, expected one or more of {', '.join(choices)}, with commas between them"
            )
        return (ALL,) if ALL in names else names

    parser.add_argument(
        "--split",
        type=splits,
        default=("test",),
        metavar="LIST",
        help=f"rows to use, one or more of {', '.join(choices)} with commas between them (default: test)",
    )

"""`deepfake-triton card`: generate the model card of a checkpoint from its metadata and an evaluation."""

from __future__ import annotations

import argparse
from pathlib import Path

from deepfake_triton.cli_types import path_with_suffix
from deepfake_triton.files.atomic import atomic_write
from deepfake_triton.files.outputs import OutputFile, prepare_outputs


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "checkpoint", type=Path, metavar="CHECKPOINT", help="checkpoint written by `train` (.safetensors)"
    )
    parser.add_argument(
        "--evaluation", type=Path, required=True, metavar="JSON", help="evaluation.json written by `evaluate`"
    )
    parser.add_argument(
        "--data-notes",
        type=Path,
        required=True,
        metavar="MD",
        help="Markdown on the training data and their licenses",
    )
    parser.add_argument(
        "--output",
        type=path_with_suffix(".md", ".markdown"),
        metavar="FILE.md",
        help="file to write (default: standard output)",
    )


def run(args: argparse.Namespace) -> int:
    """Write the model card."""
    from deepfake_triton.errors import DatasetError, OutputRefused
    from deepfake_triton.training.evaluation.model_card import format_model_card

    if args.output is not None:
        inputs = (args.checkpoint, args.evaluation, args.data_notes)
        prepare_outputs(inputs, [OutputFile("--output", args.output)])
    try:
        notes = args.data_notes.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{args.data_notes}: cannot be read: {error}") from error
    card = format_model_card(args.checkpoint, args.evaluation, notes)
    if args.output is None:
        print(card, end="")
        return 0
    try:
        with atomic_write(args.output) as partial:
            partial.write_text(card)
    except OSError as error:
        raise OutputRefused(f"--output: {args.output}: cannot be written: {error.strerror}") from error
    print(f"{args.output}: written")
    return 0

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
        "--further-evaluation",
        type=Path,
        action="append",
        default=[],
        metavar="JSON",
        help="evaluation.json of other clips, such as of --split transfer-odd; may be given several times",
    )
    parser.add_argument(
        "--real-world",
        type=Path,
        metavar="JSON",
        help="scores on real-world clips that are not part of the project; the card says whether they are of "
        "these weights or of those before",
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
    from deepfake_triton.training.evaluation.card.model_card import CardSources, format_model_card

    if args.output is not None:
        inputs = [args.checkpoint, args.evaluation, args.data_notes, *args.further_evaluation]
        inputs += [args.real_world] if args.real_world else []
        prepare_outputs(inputs, [OutputFile("--output", args.output)])
    try:
        notes = args.data_notes.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{args.data_notes}: cannot be read: {error}") from error
    sources = CardSources(args.evaluation, tuple(args.further_evaluation), args.real_world)
    card = format_model_card(args.checkpoint, sources, notes)
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

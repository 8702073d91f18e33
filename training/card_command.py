"""`deepfake-triton card`: the model card of a checkpoint, from its metadata and an evaluation."""

from __future__ import annotations

import argparse
from pathlib import Path


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("checkpoint", type=Path, metavar="CHECKPOINT", help="safetensors of `train`")
    parser.add_argument(
        "--evaluation", type=Path, required=True, metavar="JSON", help="evaluation.json of `evaluate`"
    )
    parser.add_argument(
        "--data-notes", type=Path, required=True, metavar="MD", help="whose data, under which licences"
    )
    parser.add_argument("--output", type=Path, default=Path("MODEL_CARD.md"), metavar="MD")


def run(args: argparse.Namespace) -> int:
    """Write the card."""
    from deepfake_triton.errors import DatasetError
    from deepfake_triton.training.model_card import model_card

    try:
        notes = args.data_notes.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{args.data_notes}: cannot be read: {error}") from error
    args.output.write_text(model_card(args.checkpoint, args.evaluation, notes))
    print(f"{args.output}: written")
    return 0

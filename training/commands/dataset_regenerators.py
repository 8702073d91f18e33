"""`deepfake-triton dataset regenerators`: train the small networks that redraw faces in forgeries."""

from __future__ import annotations

import argparse
from pathlib import Path

from deepfake_triton.cli_types import integer, path_with_suffix
from deepfake_triton.console.progress import stage

DEFAULT_STEPS = 520


def configure_regenerators(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the subcommand and its options."""
    regenerators = commands.add_parser(
        "regenerators",
        help="train the small networks that redraw faces in the forgeries regenerate and render-mouth",
        description="Train small autoencoders and upsamplers of faces on the portraits of the train split. "
        "An interrupted run goes on with the networks that the output lacks.",
    )
    regenerators.set_defaults(action=_regenerators)
    regenerators.add_argument(
        "portraits", type=Path, metavar="FILE", help="portraits written by `dataset portraits`"
    )
    regenerators.add_argument(
        "--output",
        type=path_with_suffix(".safetensors"),
        required=True,
        metavar="FILE.safetensors",
        help="weights of all networks; forgeries use a copy inside the package, whose path is printed",
    )
    regenerators.add_argument(
        "--steps",
        type=integer(1),
        default=DEFAULT_STEPS,
        help="training steps of an autoencoder, an upsampler takes a quarter of them (default: %(default)s, "
        "as for the shipped weights: some 8 minutes of one core)",
    )
    regenerators.add_argument("--seed", type=int, default=0, help="random seed (default: %(default)s)")


def _regenerators(args: argparse.Namespace) -> int:
    """Train the networks and write the file."""
    from deepfake_triton.errors import DatasetError
    from deepfake_triton.files.hashing import sha256_of_file
    from deepfake_triton.training.faces.portrait_file import read_portrait_file
    from deepfake_triton.training.forgery.regenerators.networks import REGENERATOR_WEIGHTS
    from deepfake_triton.training.forgery.regenerators.specs import REGENERATORS
    from deepfake_triton.training.forgery.regenerators.training import train_regenerators

    portraits = read_portrait_file(args.portraits).split("train")
    if not len(portraits):
        raise DatasetError(f"{args.portraits}: no portrait of the split train; write it with --splits train")
    with stage("training", len(REGENERATORS), "networks") as bar:
        facts = train_regenerators(
            portraits,
            args.output,
            steps=args.steps,
            portraits_sha256=sha256_of_file(args.portraits),
            seed=args.seed,
            on_step=lambda _, step, count: bar.advance() if step == count else None,
        )
    for name, values in facts.items():
        print(
            f"{name}: {values.steps} steps, mean error {values.loss} of 255, "
            f"{values.processor_minutes} minutes of the processor"
        )
    print(f"{args.output}: {args.output.stat().st_size / 2**10:.0f} KiB")
    if args.output.resolve() != REGENERATOR_WEIGHTS.resolve():
        print(f"forgeries use {REGENERATOR_WEIGHTS}: copy the file there")
    return 0

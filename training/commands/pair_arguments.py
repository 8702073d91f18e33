"""Options of commands that draw real–fake pairs: what real faces may look like, and how they are forged."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import TypeVar

from deepfake_triton.errors import DatasetError
from deepfake_triton.training.augmentation.pair_options import AUGMENTATIONS, Augmentation, PairOptions
from deepfake_triton.training.forgery.kinds import CLASSIC_KINDS, KINDS

Name = TypeVar("Name", bound=str)


def add_pair_arguments(
    group: argparse._ArgumentGroup | argparse.ArgumentParser,
    *,
    augmentations: tuple[Augmentation, ...] = AUGMENTATIONS,
) -> None:
    """Declare `--augmentations`, with these names, `--forgeries` and `--temporal`."""
    group.add_argument(
        "--augmentations",
        type=_names(augmentations, {"all": augmentations, "none": ()}),
        default=(),
        metavar="NAME[,NAME…]",
        help="what real faces and their fake counterparts alike may go through, beyond smooth warps and "
        f"ordinary degradations: all, none, or some of {', '.join(augmentations)}; head poses beyond roll, "
        "and expressions, need portraits with a face mesh (default: none)",
    )
    group.add_argument(
        "--forgeries",
        type=_names(KINDS, {"all": KINDS, "classic": CLASSIC_KINDS}),
        default=CLASSIC_KINDS,
        metavar="NAME[,NAME…]",
        help=f"kinds of forgery: all, classic, or some of {', '.join(KINDS)} (default: classic, which are "
        f"{', '.join(CLASSIC_KINDS)})",
    )
    group.add_argument(
        "--temporal",
        action="store_true",
        help="let forgeries flicker, drop out and start anew from frame to frame",
    )


def pair_options_from(args: argparse.Namespace) -> PairOptions:
    """Return the options that `add_pair_arguments` declared."""
    return PairOptions(
        augmentations=frozenset(args.augmentations), kinds=tuple(args.forgeries), temporal=args.temporal
    )


def refuse_pair_arguments(args: argparse.Namespace, others: Sequence[str] = ()) -> None:
    """Raise DatasetError when options of pairs, or `others`, were given with `--crops`."""
    default, given = PairOptions(), pair_options_from(args)
    options = {"--augmentations": "augmentations", "--forgeries": "kinds", "--temporal": "temporal"}
    refused = [option for option, name in options.items() if getattr(given, name) != getattr(default, name)]
    if refused or others:
        raise DatasetError(
            f"--crops: got {', '.join([*refused, *others])} too, but nothing is forged: a crop store holds "
            "labeled videos; leave out --crops, or the others"
        )


def _names(known: Sequence[Name], sets: dict[str, tuple[Name, ...]]) -> Callable[[str], tuple[Name, ...]]:
    """Return a type for the name of a set, or for known names with commas between them."""

    def parse(text: str) -> tuple[Name, ...]:
        if text in sets:
            return sets[text]
        asked = text.split(",")
        unknown = [name for name in asked if name not in known]
        if unknown:
            got, expected = ", ".join(map(repr, unknown)), ", ".join([*sets, *known])
            raise argparse.ArgumentTypeError(f"got {got}, expected {expected}")
        return tuple(name for name in known if name in asked)

    return parse

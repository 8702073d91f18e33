"""`deepfake-triton train`: train a checkpoint from a manifest; an interrupted run resumes."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepfake_triton.cli_types import integer
from deepfake_triton.console.logs import warnings_on_stderr
from deepfake_triton.console.progress import stage
from deepfake_triton.contracts import DEFAULT_CROP_SIDE, DEFAULT_FRAMES
from deepfake_triton.preprocessing.crops import CropRule
from deepfake_triton.training.commands.pair_arguments import (
    add_pair_arguments,
    pair_options_from,
    refuse_pair_arguments,
)
from deepfake_triton.training.commands.phase_bar import PhaseBar

if TYPE_CHECKING:
    from deepfake_triton.training.loop.settings import TrainOptions

DEFAULT_CROP_RULE = CropRule(DEFAULT_CROP_SIDE, 0.05)

_LOGGERS = ("deepfake_triton.models", "deepfake_triton.training")
_MOST_MINUTES = 30 * 24 * 60


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "manifest",
        type=Path,
        metavar="FILE",
        help="manifest written by `dataset index`, or portraits written by `dataset portraits`",
    )
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder of the run")
    parser.add_argument("--seed", type=int, default=0, help="random seed (default: %(default)s)")
    parser.add_argument(
        "--workers", type=int, default=1, metavar="N", help="data-loading processes (default: %(default)s)"
    )
    parser.add_argument(
        "--device", default="cpu", metavar="cpu|cuda", help="where to train (default: %(default)s)"
    )
    parser.add_argument(
        "--generator",
        choices=("auto", "cpu", "device"),
        default="auto",
        help="what makes pairs: worker processes (cpu), or batches on the device with the workers' beside "
        "them; auto is device with cuda (default: %(default)s)",
    )
    parser.add_argument(
        "--minutes",
        type=_minutes,
        metavar="M",
        help="end by the clock, in a checkpoint: learning rate and forgeries follow the time, --steps and "
        "--teacher-steps are ignored, and clips and LSTM steps are as many as there is time for; SIGTERM "
        "and Ctrl-C end the run at once, in a checkpoint too",
    )
    parser.add_argument(
        "--parts",
        type=integer(1, 4096),
        metavar="MIB",
        help="also write the checkpoint, and until then the averaged weights with each saved state, in parts "
        "of at most this size",
    )
    _configure_data(parser.add_argument_group("data"))
    add_pair_arguments(parser.add_argument_group("pairs forged on the fly"))
    _configure_backbone(parser.add_argument_group("backbone"))
    _configure_sequence(parser.add_argument_group("sequence head"))


def _minutes(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= _MOST_MINUTES:
        raise argparse.ArgumentTypeError(f"got {text}, expected minutes over 0, at most {_MOST_MINUTES}")
    return value


def _configure_data(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--crops",
        type=Path,
        metavar="DIR",
        help="crop store of labeled videos, written by `dataset crops`; without it, real faces are forged on "
        "the fly",
    )
    group.add_argument(
        "--crop-side",
        type=int,
        metavar="PX",
        help=f"side of the square crops (default: the crop store's, or {DEFAULT_CROP_RULE.side})",
    )
    group.add_argument(
        "--crop-margin",
        type=float,
        metavar="SHARE",
        help="margin around a face, as a fraction of its box's longer side (default: the crop store's, or "
        f"{DEFAULT_CROP_RULE.margin})",
    )
    group.add_argument(
        "--frames",
        type=int,
        default=DEFAULT_FRAMES,
        metavar="N",
        help="frames per clip (default: %(default)s)",
    )
    group.add_argument(
        "--clips",
        type=int,
        default=4,
        metavar="N",
        help="training clips drawn from each face (default: %(default)s)",
    )
    group.add_argument(
        "--val-clips",
        type=int,
        default=6,
        metavar="N",
        help="validation clips drawn from each held-out face (default: %(default)s)",
    )
    group.add_argument(
        "--pairs", type=int, default=16, metavar="N", help="real–fake pairs per batch (default: %(default)s)"
    )
    group.add_argument(
        "--pair-uses",
        type=integer(1, 4),
        default=2,
        metavar="N",
        help="batches that a pair forged on the fly is in, each time mirrored, in another crop and another "
        "JPEG quality: making a pair costs several times as much as using it again (default: %(default)s)",
    )
    group.add_argument(
        "--val-pairs",
        type=int,
        default=256,
        metavar="N",
        help="real–fake pairs of held-out people for the curve (default: %(default)s)",
    )


def _configure_backbone(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--from",
        dest="start",
        type=Path,
        metavar="CHECKPOINT",
        help="train the backbone of this checkpoint further, its batch norms frozen, also at another "
        "--crop-side; without it, start from the teacher's weights or random ones",
    )
    group.add_argument(
        "--steps", type=int, default=6000, metavar="N", help="training steps (default: %(default)s)"
    )
    group.add_argument(
        "--learning-rate",
        type=float,
        default=5e-4,
        metavar="RATE",
        help="peak learning rate (default: %(default)s)",
    )
    group.add_argument(
        "--teacher",
        choices=("none", "efficientnet-lite0"),
        default="none",
        help="ImageNet network to fine-tune first and then distill (default: %(default)s)",
    )
    group.add_argument(
        "--teacher-steps",
        type=int,
        default=1500,
        metavar="N",
        help="steps of its fine-tuning (default: %(default)s)",
    )
    group.add_argument(
        "--save-every",
        type=int,
        default=200,
        metavar="STEPS",
        help="steps between saved states to resume from (default: %(default)s); a run on a GPU or by the "
        "clock saves every two minutes instead, by the clock at least eight times a phase",
    )
    group.add_argument(
        "--report-every",
        type=int,
        default=100,
        metavar="STEPS",
        help="steps between points of the curve (default: %(default)s)",
    )


def _configure_sequence(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--sequence-steps",
        type=int,
        default=1500,
        metavar="N",
        help="training steps of the LSTM (default: %(default)s)",
    )
    group.add_argument(
        "--hidden-size",
        type=int,
        default=512,
        metavar="N",
        help="hidden size of the LSTM (default: %(default)s)",
    )


def run(args: argparse.Namespace) -> int:
    """Train, with a progress bar for each phase."""
    from deepfake_triton.training.augmentation.codec import has_h264
    from deepfake_triton.training.loop.train import train

    if not args.crops and not has_h264():
        print("no H.264 encoder (PyAV): JPEG takes its place in the samples", file=sys.stderr)
    with stage("data", unit="steps") as bar, warnings_on_stderr(*_LOGGERS):
        result = train(_train_options(args), PhaseBar(bar))
    known = result.provenance
    print(f"{result.checkpoint}: AUC {known.val_auc:.3f} on {known.val_clips} clips of held-out people")
    if result.parts:
        print(f"{result.parts[0]}: first of {len(result.parts)} parts; `cat` joins them")
    print(f"{args.output / 'curve.csv'}, {args.output / 'curve.svg'}: training curve")
    return 0


def _train_options(args: argparse.Namespace) -> TrainOptions:
    from deepfake_triton.training.loop.settings import FrameSettings, SequenceSettings, TrainOptions

    if args.crops:
        refuse_pair_arguments(args, [] if args.generator == "auto" else ["--generator"])
    common: dict[str, Any] = {
        "pairs": args.pairs,
        "val_pairs": args.val_pairs,
        "save_every": args.save_every,
        "report_every": args.report_every,
        "pair_uses": args.pair_uses,
    }
    teacher = FrameSettings(
        steps=args.teacher_steps, learning_rate=1e-3, warmup=min(100, args.teacher_steps), **common
    )
    return TrainOptions(
        manifest=args.manifest,
        output=args.output,
        store=args.crops,
        start=args.start,
        seed=args.seed,
        crop_rule=_crop_rule(args),
        num_frames=args.frames,
        teacher=None if args.teacher == "none" else teacher,
        backbone=FrameSettings(
            steps=args.steps,
            learning_rate=args.learning_rate,
            warmup=min(200, args.steps),
            strength_start=1.0 if args.start else FrameSettings.strength_start,
            norm_share=0.0 if args.start else FrameSettings.norm_share,
            **common,
        ),
        sequence=SequenceSettings(
            hidden_size=args.hidden_size,
            train_rounds=args.clips,
            val_rounds=args.val_clips,
            steps=args.sequence_steps,
        ),
        workers=args.workers,
        device=args.device,
        command="deepfake-triton " + shlex.join(sys.argv[1:]),
        minutes=args.minutes,
        part_mib=args.parts,
        pairs=pair_options_from(args),
        generator=args.generator,
    )


def _crop_rule(args: argparse.Namespace) -> CropRule:
    """Return the crop rule of the crop store, if there is one, else the default.

    A checkpoint must be served the crops it was trained on.
    """
    from deepfake_triton.errors import DatasetError
    from deepfake_triton.training.faces.crops import read_crop_rule

    stored = read_crop_rule(args.crops) if args.crops else None
    default = stored or DEFAULT_CROP_RULE
    rule = CropRule(
        default.side if args.crop_side is None else args.crop_side,
        default.margin if args.crop_margin is None else args.crop_margin,
    )
    if stored and rule != stored:
        raise DatasetError(f"{args.crops}: holds {stored}, but {rule} was asked for; cut the crops anew")
    return rule

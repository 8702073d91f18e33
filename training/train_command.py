"""`deepfake-triton train`: a manifest becomes a checkpoint; a run that was stopped goes on."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path
from typing import Any

from deepfake_triton.contracts import DEFAULT_CROP_SIDE, DEFAULT_FRAMES
from deepfake_triton.preprocessing.crops import CropRule

DEFAULT_CROP_RULE = CropRule(DEFAULT_CROP_SIDE, 0.05)


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("manifest", type=Path, metavar="CSV", help="manifest that `dataset index` wrote")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="the run's folder")
    parser.add_argument(
        "--crops",
        type=Path,
        metavar="DIR",
        help="learn from the labelled videos whose faces `dataset crops` cut there; without, from the real "
        "faces alone, forged on the fly",
    )
    parser.add_argument(
        "--from",
        dest="start",
        type=Path,
        metavar="CHECKPOINT",
        help="train its backbone further, its normalisations standing still; without, begin with random "
        "weights, or with the teacher's",
    )
    parser.add_argument("--seed", type=int, default=0, help="of all that chance decides (default: 0)")
    parser.add_argument(
        "--crop-side", type=int, metavar="PX", help=f"default: the crop store's, or {DEFAULT_CROP_RULE.side}"
    )
    parser.add_argument(
        "--crop-margin", type=float, metavar="SHARE", help=f"the same, or {DEFAULT_CROP_RULE.margin}"
    )
    parser.add_argument("--frames", type=int, default=DEFAULT_FRAMES, metavar="N", help="of a clip")
    parser.add_argument("--steps", type=int, default=6000, metavar="N", help="of the backbone (%(default)s)")
    parser.add_argument(
        "--sequence-steps", type=int, default=1500, metavar="N", help="of the LSTM (%(default)s)"
    )
    parser.add_argument(
        "--teacher", choices=("none", "efficientnet-lite0"), default="none", help="from which it learns too"
    )
    parser.add_argument("--teacher-steps", type=int, default=1500, metavar="N", help="default: %(default)s")
    parser.add_argument("--pairs", type=int, default=16, metavar="N", help="of real and fake crops a step")
    parser.add_argument("--learning-rate", type=float, default=5e-4, metavar="RATE", help="of the backbone")
    parser.add_argument("--hidden-size", type=int, default=512, metavar="N", help="of the LSTM")
    parser.add_argument(
        "--clips", type=int, default=4, metavar="N", help="drawn from each face (%(default)s)"
    )
    parser.add_argument("--val-clips", type=int, default=6, metavar="N", help="the same, held out")
    parser.add_argument(
        "--val-pairs", type=int, default=256, metavar="N", help="crops held out, for the curve"
    )
    parser.add_argument("--save-every", type=int, default=200, metavar="STEPS", help="default: %(default)s")
    parser.add_argument("--report-every", type=int, default=100, metavar="STEPS", help="default: %(default)s")
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="processes that make samples")
    parser.add_argument("--device", default="cpu", metavar="cpu|cuda", help="default: %(default)s")


def run(args: argparse.Namespace) -> int:
    """Train, showing what is being done, how far it is, and the time left."""
    from tqdm import tqdm

    from deepfake_triton.training.frame_phase import FrameSettings
    from deepfake_triton.training.sequence_phase import SequenceSettings
    from deepfake_triton.training.train import TrainOptions, train

    common: dict[str, Any] = {
        "pairs": args.pairs,
        "val_pairs": args.val_pairs,
        "save_every": args.save_every,
        "report_every": args.report_every,
    }
    teacher = FrameSettings(
        steps=args.teacher_steps, learning_rate=1e-3, warmup=min(100, args.teacher_steps), **common
    )
    options = TrainOptions(
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
    )
    with tqdm(unit="step", leave=False, disable=None, file=sys.stderr) as bar:
        known = train(options, _Progress(bar))
    print(
        f"{known['checkpoint']}: AUC {known['val_auc']:.3f} on {known['val_clips']} clips of held-out people"
    )
    print(f"{args.output / 'curve.csv'}, {args.output / 'curve.svg'}: how it got there")
    return 0


def _crop_rule(args: argparse.Namespace) -> CropRule:
    """The store's own: a checkpoint that is served other crops than it learned from is wrong in silence."""
    from deepfake_triton.errors import DatasetError
    from deepfake_triton.training.crops import crop_rule_of_store

    stored = crop_rule_of_store(args.crops) if args.crops else None
    default = stored or DEFAULT_CROP_RULE
    rule = CropRule(
        default.side if args.crop_side is None else args.crop_side,
        default.margin if args.crop_margin is None else args.crop_margin,
    )
    if stored and rule != stored:
        raise DatasetError(f"{args.crops}: holds {stored}, but {rule} was asked for; cut the crops anew")
    return rule


class _Progress:
    """A bar a phase with the time left; where nobody watches, a line whenever the figures change."""

    def __init__(self, bar: Any) -> None:
        self.bar = bar
        self.phase = ""
        self.figures = ""

    def __call__(self, phase: str, done: int, total: int, figures: str) -> None:
        if phase != self.phase:
            self.phase = phase
            self.bar.reset(total)
            self.bar.set_description(phase, refresh=False)
            self.bar.initial = self.bar.n = done - 1
        if self.bar.disable and figures != self.figures:
            print(f"{phase} {done}/{total}: {figures}", file=sys.stderr, flush=True)
        self.figures = figures
        self.bar.set_postfix_str(figures, refresh=False)
        self.bar.update(done - self.bar.n)

"""`deepfake-triton evaluate`: figures of a served model on labelled videos."""

from __future__ import annotations

import argparse
import hashlib
import sys
from pathlib import Path

from deepfake_triton.client.rules import DEFAULT_URL
from deepfake_triton.contracts import DEFAULT_FRAMES


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("manifest", type=Path, metavar="CSV", help="manifest of labelled videos")
    parser.add_argument("--url", default=DEFAULT_URL, metavar="HOST:PORT", help="default: %(default)s")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="report, figures and plots")
    parser.add_argument(
        "--split", choices=("train", "val", "test", "all"), default="test", help="default: %(default)s"
    )
    parser.add_argument("--frames", type=int, default=DEFAULT_FRAMES, metavar="N", help="of each video")
    parser.add_argument("--no-degradations", action="store_true", help="the videos as they are, only")
    parser.add_argument(
        "--normalise", action="store_true", help="re-encode every clip alike first: codecs differ by class"
    )


def run(args: argparse.Namespace) -> int:
    """Evaluate; 1 when a video could not be processed."""
    from tqdm import tqdm

    from deepfake_triton.client import DeepfakeClient
    from deepfake_triton.errors import DatasetError
    from deepfake_triton.manifest import read_manifest
    from deepfake_triton.preprocessing.sampling import FrameSelection
    from deepfake_triton.training.evaluate import figures_of, score_clips
    from deepfake_triton.training.evaluation_report import markdown, write_report
    from deepfake_triton.training.variants import VARIANTS

    rows = [row for row in read_manifest(args.manifest) if args.split in ("all", row.split)]
    if not rows:
        raise DatasetError(f"{args.manifest}: no video in the split {args.split}")
    variants = () if args.no_degradations else VARIANTS
    total = len(rows) * (1 + len(variants))
    with (
        DeepfakeClient(args.url) as client,
        tqdm(total=total, unit="clip", leave=False, disable=None, file=sys.stderr) as bar,
    ):
        model = client.model()
        scores = score_clips(
            client,
            rows,
            args.manifest.parent,
            variants,
            FrameSelection(args.frames),
            normalise=args.normalise,
            on_clip=bar.update,
        )
    digest = hashlib.sha256(args.manifest.read_bytes()).hexdigest()
    facts = {
        "model": f"{model.name} version {model.version}, {model.weights} weights, sha256 {model.sha256[:12]}",
        "manifest": f"{args.manifest.name}, sha256 {digest[:12]}",
        "split": args.split,
        "frames": args.frames,
        "normalised": args.normalise,
    }
    figures = figures_of(scores, dict(model.operating_points))
    write_report(args.output, scores, figures, facts)
    print(markdown(figures, facts))
    print(
        f"{args.output / 'report.md'}: with plots; evaluation.json beside it has every score", file=sys.stderr
    )
    return 1 if scores.faults else 0

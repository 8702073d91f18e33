"""`deepfake-triton evaluate`: evaluate a served model on labeled videos."""

from __future__ import annotations

import argparse
import sys
from datetime import datetime, timezone
from pathlib import Path

from deepfake_triton.client_defaults import DEFAULT_URL
from deepfake_triton.console.progress import stage
from deepfake_triton.contracts import DEFAULT_FRAMES
from deepfake_triton.files.hashing import sha256_of_file
from deepfake_triton.files.outputs import OutputFile, make_folders, require_distinct_outputs
from deepfake_triton.training.commands.split_option import add_split_option


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("manifest", type=Path, metavar="CSV", help="manifest of labeled videos")
    parser.add_argument(
        "--url",
        default=DEFAULT_URL,
        metavar="HOST:PORT",
        help="gRPC address of the server (default: %(default)s)",
    )
    parser.add_argument(
        "--output", type=Path, required=True, metavar="DIR", help="folder of report, figures and plots"
    )
    add_split_option(parser, with_all=True)
    parser.add_argument(
        "--frames",
        type=int,
        default=DEFAULT_FRAMES,
        metavar="N",
        help="frames per video (default: %(default)s)",
    )
    degradations = parser.add_mutually_exclusive_group()
    degradations.add_argument(
        "--no-degradations", action="store_true", help="evaluate the videos as they are, without corruptions"
    )
    degradations.add_argument(
        "--degradation",
        action="append",
        metavar="NAME",
        help="evaluate the videos as they are and under this corruption, a name of the report such as "
        "'half scale, crf 32', in place of all of them; may be given several times",
    )
    parser.add_argument(
        "--mirror",
        action="store_true",
        help="also score the mirror image of every video as it is, and the mean of both probabilities",
    )
    parser.add_argument(
        "--normalize",
        "--normalise",
        action="store_true",
        help="re-encode all videos identically first, where codecs differ by class",
    )


def run(args: argparse.Namespace) -> int:
    """Evaluate; return 1 when a video could not be processed."""
    from deepfake_triton.client import DeepfakeClient
    from deepfake_triton.dataset_manifest import read_manifest, rows_of_splits
    from deepfake_triton.errors import DatasetError
    from deepfake_triton.preprocessing.video.sampling import FrameSelection
    from deepfake_triton.training.evaluation.corruptions import corruptions_named
    from deepfake_triton.training.evaluation.report import REPORT_FILES, format_report, write_report
    from deepfake_triton.training.evaluation.results import EvaluationHeader
    from deepfake_triton.training.evaluation.scoring import score_clips
    from deepfake_triton.training.evaluation.summary import summarize_scores

    corruptions = () if args.no_degradations else corruptions_named(args.degradation)
    rows = rows_of_splits(read_manifest(args.manifest), args.split)
    if not rows:
        raise DatasetError(f"{args.manifest}: no video in the split {', '.join(args.split)}")
    reports = [OutputFile("--output", args.output / name) for name in REPORT_FILES]
    require_distinct_outputs([args.manifest], reports)
    total = len(rows) * (1 + len(corruptions))
    with (
        DeepfakeClient(args.url) as client,
        stage("scoring", total, "clips") as bar,
    ):
        model = client.model()
        make_folders(reports)
        scores = score_clips(
            client,
            rows,
            base=args.manifest.parent,
            corruptions=corruptions,
            selection=FrameSelection(args.frames),
            normalize=args.normalize,
            mirror=args.mirror,
            on_clip=bar.advance,
        )
    header = EvaluationHeader(
        model=f"{model.name} version {model.version}, {model.weights} weights, sha256 {model.sha256[:12]}",
        manifest=f"{args.manifest.name}, sha256 {sha256_of_file(args.manifest)[:12]}",
        split=", ".join(args.split),
        frames=args.frames,
        normalized=args.normalize,
        date=datetime.now(tz=timezone.utc).date().isoformat(),
    )
    with stage("metrics and intervals"):
        evaluation = summarize_scores(
            scores, header, fake_at_least=model.operating_points, real_at_most=model.real_borders
        )
    write_report(args.output, evaluation)
    print(format_report(evaluation))
    print(
        f"{args.output / 'report.md'}: report with plots; evaluation.json holds every score", file=sys.stderr
    )
    return 1 if scores.faults else 0

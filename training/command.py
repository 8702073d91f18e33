"""`deepfake-triton dataset`: collections on disk become a manifest."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    commands = parser.add_subparsers(dest="dataset_command", metavar="COMMAND", required=True)
    index = commands.add_parser(
        "index",
        help="folders of FaceForensics++, DFDC, Celeb-DF, or real/ and fake/, to one manifest",
        description="Read the official layouts of collections into one manifest, split by identity.",
    )
    index.add_argument("folders", nargs="+", type=Path, metavar="DIR", help="top folders of collections")
    index.add_argument("--output", type=Path, required=True, metavar="CSV", help="the manifest to write")
    index.add_argument("--seed", type=int, default=0, help="of splits and of what is left out (default: 0)")
    index.add_argument("--keep-all", action="store_true", help="do not balance labels and sources")
    index.add_argument("--no-check", action="store_true", help="do not decode a frame of every file")


def run(args: argparse.Namespace) -> int:
    """Write the manifest and, beside it, the report of what did not get into it."""
    from tqdm import tqdm

    from deepfake_triton.training.index import index_folders
    from deepfake_triton.training.manifest import write_manifest

    with tqdm(
        unit="file", leave=False, disable=None, file=sys.stderr, desc="decoding a frame of each"
    ) as bar:
        index = index_folders(
            args.folders,
            args.output.parent,
            seed=args.seed,
            balance=not args.keep_all,
            check=not args.no_check,
            on_file=lambda _: bar.update(),
        )
    digest = write_manifest(args.output, index.rows)
    report = {"manifest_sha256": digest, **index.report()}
    report_path = args.output.with_suffix(".report.json")
    report_path.write_text(json.dumps(report, indent=2) + "\n")
    for folder, layout in index.layouts.items():
        print(f"{folder}: {layout}")
    print(f"{args.output}: {len(index.rows)} files, sha256 {digest[:12]}…")
    for count, value in report["counts"].items():
        print(f"  {count}: {value}")
    for reason in ("missing", "double", "contradicting", "unreadable", "in_two_splits", "surplus"):
        print(f"  left out, {reason.replace('_', ' ')}: {len(report[reason])}")
    print(f"{report_path}: every file that was left out")
    return 0

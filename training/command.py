"""`deepfake-triton dataset`: collections on disk become a manifest, and a manifest a store of face crops."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from deepfake_triton import contracts
from deepfake_triton.errors import DatasetError
from deepfake_triton.manifest import SPLITS


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    commands = parser.add_subparsers(dest="dataset_command", metavar="COMMAND", required=True)
    index = commands.add_parser(
        "index",
        help="folders of FaceForensics++, DFDC, Celeb-DF, or real/ and fake/, to one manifest",
        description="Read the official layouts of collections into one manifest, split by identity.",
    )
    index.set_defaults(action=_index)
    index.add_argument("folders", nargs="+", type=Path, metavar="DIR", help="top folders of collections")
    index.add_argument("--output", type=Path, required=True, metavar="CSV", help="the manifest to write")
    index.add_argument("--seed", type=int, default=0, help="of splits and of what is left out (default: 0)")
    index.add_argument("--keep-all", action="store_true", help="do not balance labels and sources")
    index.add_argument("--no-check", action="store_true", help="do not decode a frame of every file")
    crops = commands.add_parser(
        "crops",
        help="the faces of every file of a manifest, cut by the preprocessing that is served",
        description="Cut the faces of a manifest's files into a store; a run that was stopped goes on.",
    )
    crops.set_defaults(action=_crops)
    crops.add_argument("manifest", type=Path, metavar="CSV", help="manifest that `dataset index` wrote")
    crops.add_argument("--output", type=Path, required=True, metavar="DIR", help="the store")
    crops.add_argument(
        "--crop-side",
        type=int,
        default=contracts.DEFAULT_CROP_SIDE,
        metavar="PX",
        help="default: %(default)s",
    )
    crops.add_argument("--crop-margin", type=float, default=0.0, metavar="SHARE", help="default: %(default)s")
    crops.add_argument(
        "--detector-size",
        type=int,
        default=contracts.DEFAULT_DETECTOR_SIZE,
        metavar="PX",
        help="default: %(default)s",
    )
    crops.add_argument(
        "--frames", type=int, default=contracts.DEFAULT_FRAMES, metavar="N", help="of each video"
    )
    clips = commands.add_parser(
        "clips",
        help="short videos from photos of real people, each with its forged twin",
        description="Make a labelled set of clips: a moving camera before each photo, and its forged twin.",
    )
    clips.set_defaults(action=_clips)
    clips.add_argument("manifest", type=Path, metavar="CSV", help="manifest of real photos or videos")
    clips.add_argument("--output", type=Path, required=True, metavar="DIR", help="videos and manifest.csv")
    clips.add_argument("--split", choices=SPLITS, default="test", help="default: %(default)s")
    clips.add_argument("--clips", type=int, default=1, metavar="N", help="of each photo (default: 1)")
    clips.add_argument("--frames", type=int, default=contracts.DEFAULT_FRAMES, metavar="N", help="of each")
    clips.add_argument("--crf", type=int, default=20, metavar="N", help="of H.264 (default: 20)")
    clips.add_argument("--seed", type=int, default=1, help="of motion and recipes (default: 1)")
    crops.add_argument("--sampling", choices=("consecutive", "uniform"), default="consecutive")


def run(args: argparse.Namespace) -> int:
    """Run the chosen one of the commands."""
    status: int = args.action(args)
    return status


def _index(args: argparse.Namespace) -> int:
    """Write the manifest and, beside it, the report of what did not get into it."""
    from tqdm import tqdm

    from deepfake_triton.manifest import write_manifest
    from deepfake_triton.training.index import index_folders

    with tqdm(unit="file", leave=False, disable=None, file=sys.stderr, desc="checking") as bar:
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


def _crops(args: argparse.Namespace) -> int:
    """Fill the store; 1 when not one file gave a face."""
    from tqdm import tqdm

    from deepfake_triton.export.detector import default_detector
    from deepfake_triton.manifest import read_manifest
    from deepfake_triton.preprocessing.crops import CropRule
    from deepfake_triton.preprocessing.sampling import FrameSelection, Sampling
    from deepfake_triton.training.crops import FAULTS_NAME, StoreSettings, fill_store

    rows = read_manifest(args.manifest)
    detector, detector_sha256 = default_detector(args.detector_size)
    settings = StoreSettings(
        crop_rule=CropRule(args.crop_side, args.crop_margin),
        selection=FrameSelection(args.frames, Sampling(args.sampling)),
        detector_sha256=detector_sha256,
    )
    with tqdm(total=len(rows), unit="file", leave=False, disable=None, file=sys.stderr) as bar:
        report = fill_store(
            args.output, rows, args.manifest.parent, settings, detector, on_row=lambda _: bar.update()
        )
    counts = f"{report.cut} files cut, {report.there_already} were there, {len(report.faults)} faults"
    print(f"{args.output}: {counts}")
    if report.faults:
        print(f"{args.output / FAULTS_NAME}: what could not be cut, and why")
    return 0 if report.cut or report.there_already else 1


def _clips(args: argparse.Namespace) -> int:
    """Write the clips and their manifest."""
    from tqdm import tqdm

    from deepfake_triton.export.detector import default_detector
    from deepfake_triton.manifest import read_manifest, write_manifest
    from deepfake_triton.preprocessing.crops import CropRule
    from deepfake_triton.training.portraits import portraits_of_rows
    from deepfake_triton.training.samples import PairSampler
    from deepfake_triton.training.still_clips import write_still_clips

    rows = [row for row in read_manifest(args.manifest) if row.split == args.split and row.label == "real"]
    detector, _ = default_detector(contracts.DEFAULT_DETECTOR_SIZE)
    portraits, faults = portraits_of_rows(rows, args.manifest.parent, detector)
    if not portraits:
        reason = next(iter(faults.values()), "it has no real rows there")
        raise DatasetError(f"{args.manifest}: no usable face in the split {args.split}: {reason}")
    with tqdm(
        total=len(portraits) * args.clips, unit="pair", leave=False, disable=None, file=sys.stderr
    ) as bar:
        written = write_still_clips(
            PairSampler(portraits, CropRule()),
            args.output,
            args.split,
            clips=args.clips,
            num_frames=args.frames,
            seed=args.seed,
            crf=args.crf,
            on_clip=bar.update,
        )
    write_manifest(args.output / "manifest.csv", written)
    print(f"{args.output / 'manifest.csv'}: {len(written)} clips of {len(portraits)} faces")
    for path, reason in faults.items():
        print(f"  left out: {path}: {reason}")
    return 0

"""`deepfake-triton dataset`: index datasets, cut face crops, render clips from photos."""

from __future__ import annotations

import argparse
import json
from dataclasses import fields
from pathlib import Path

from deepfake_triton import contracts
from deepfake_triton.console.progress import stage
from deepfake_triton.errors import DatasetError
from deepfake_triton.training.augmentation.clip_conditions import (
    CLIP_AUGMENTATIONS,
    CONDITIONS_TEXT,
    condition_names,
    needs_mesh,
    require_no_poses,
)
from deepfake_triton.training.augmentation.pair_options import PairOptions
from deepfake_triton.training.commands.dataset_portraits import configure_portraits
from deepfake_triton.training.commands.dataset_regenerators import configure_regenerators
from deepfake_triton.training.commands.pair_arguments import add_pair_arguments, pair_options_from
from deepfake_triton.training.commands.split_option import add_split_option


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    commands = parser.add_subparsers(dest="dataset_command", metavar="COMMAND", required=True)
    _configure_index(commands)
    _configure_crops(commands)
    configure_portraits(commands)
    configure_regenerators(commands)
    _configure_clips(commands)


def _configure_index(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    index = commands.add_parser(
        "index",
        help="index FaceForensics++, DFDC, Celeb-DF, or real/ and fake/ folders into one manifest",
        description="Read the official layouts of datasets into one manifest, split by identity.",
    )
    index.set_defaults(action=_index)
    index.add_argument("folders", nargs="+", type=Path, metavar="DIR", help="root folders of datasets")
    index.add_argument("--output", type=Path, required=True, metavar="CSV", help="the manifest to write")
    index.add_argument(
        "--seed", type=int, default=0, help="random seed of splits and balancing (default: %(default)s)"
    )
    index.add_argument(
        "--keep-all", action="store_true", help="do not balance labels and sources within the splits"
    )
    index.add_argument(
        "--no-check",
        action="store_true",
        help="do not decode a frame of every file to verify that it is readable",
    )


def _configure_crops(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    crops = commands.add_parser(
        "crops",
        help="cut the faces of every file of a manifest, with the preprocessing used in serving",
        description="Cut the faces of a manifest's files into a crop store; an interrupted run resumes.",
    )
    crops.set_defaults(action=_crops)
    crops.add_argument("manifest", type=Path, metavar="CSV", help="manifest written by `dataset index`")
    crops.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder of the crop store")
    crops.add_argument(
        "--crop-side",
        type=int,
        default=contracts.DEFAULT_CROP_SIDE,
        metavar="PX",
        help="side of the square crops (default: %(default)s)",
    )
    crops.add_argument(
        "--crop-margin",
        type=float,
        default=0.0,
        metavar="SHARE",
        help="margin around a face, as a fraction of its box's longer side (default: %(default)s)",
    )
    crops.add_argument(
        "--detector-size",
        type=int,
        default=contracts.DEFAULT_DETECTOR_SIZE,
        metavar="PX",
        help="input size of the face detector (default: %(default)s)",
    )
    crops.add_argument(
        "--frames",
        type=int,
        default=contracts.DEFAULT_FRAMES,
        metavar="N",
        help="frames per video (default: %(default)s)",
    )
    crops.add_argument(
        "--sampling",
        choices=("consecutive", "uniform"),
        default="consecutive",
        help="which frames of a video (default: %(default)s)",
    )


def _configure_clips(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    clips = commands.add_parser(
        "clips",
        help="render short videos from photos of real people, each with its fake counterpart",
        description="Render a labeled set of clips of a camera moving in front of photos, each with its fake "
        "counterpart.",
    )
    clips.set_defaults(action=_clips)
    clips.add_argument("manifest", type=Path, metavar="CSV", help="manifest of real photos or videos")
    clips.add_argument(
        "--output",
        type=Path,
        required=True,
        metavar="DIR",
        help="folder of the videos and their manifest.csv",
    )
    add_split_option(clips)
    clips.add_argument(
        "--clips", type=int, default=1, metavar="N", help="clips per photo (default: %(default)s)"
    )
    clips.add_argument(
        "--frames",
        type=int,
        default=contracts.DEFAULT_FRAMES,
        metavar="N",
        help="frames per clip (default: %(default)s)",
    )
    clips.add_argument(
        "--crf",
        type=int,
        default=20,
        metavar="N",
        help="constant rate factor of H.264 (default: %(default)s)",
    )
    clips.add_argument(
        "--seed", type=int, default=1, help="random seed of motion and forgery recipes (default: %(default)s)"
    )
    clips.add_argument(
        "--conditions",
        type=condition_names,
        default=(),
        metavar="LIST",
        help="render every clip once under each of these, with nothing else changed, for `evaluate` to "
        f"compare: {CONDITIONS_TEXT}, with commas between them; yaw, pitch and eyes-closed need faces with "
        "a mesh",
    )
    add_pair_arguments(clips, augmentations=CLIP_AUGMENTATIONS)


def run(args: argparse.Namespace) -> int:
    """Run the chosen subcommand."""
    status: int = args.action(args)
    return status


def _index(args: argparse.Namespace) -> int:
    """Write the manifest and, beside it, the report of the files left out."""
    from deepfake_triton.dataset_manifest import write_manifest
    from deepfake_triton.training.datasets.index import index_folders

    with stage("checking", unit="files") as bar:
        index = index_folders(
            args.folders,
            args.output.parent,
            seed=args.seed,
            balance=not args.keep_all,
            check=not args.no_check,
            on_file=lambda _: bar.advance(),
        )
    digest = write_manifest(args.output, index.rows)
    report = index.report(digest)
    report_path = args.output.with_suffix(".report.json")
    report_path.write_text(json.dumps(report.to_json(), indent=2) + "\n")
    for folder, layout in index.layouts.items():
        print(f"{folder}: {layout}")
    print(f"{args.output}: {len(index.rows)} files, sha256 {digest[:12]}…")
    for count, value in report.counts.items():
        print(f"  {count}: {value}")
    for reason in fields(report.left_out):
        files = getattr(report.left_out, reason.name)
        print(f"  left out, {reason.name.replace('_', ' ')}: {len(files)}")
    print(f"{report_path}: all files left out")
    return 0


def _crops(args: argparse.Namespace) -> int:
    """Fill the crop store; return 1 when no file yielded a face."""
    from deepfake_triton.dataset_manifest import read_manifest
    from deepfake_triton.models.detectors.build import default_detector_sha256, load_default_detector
    from deepfake_triton.preprocessing.crops import CropRule
    from deepfake_triton.preprocessing.video.sampling import FrameSelection, Sampling
    from deepfake_triton.training.faces.crops import FAULTS_NAME, StoreSettings, fill_store

    rows = read_manifest(args.manifest)
    detector = load_default_detector(args.detector_size)
    settings = StoreSettings(
        crop_rule=CropRule(args.crop_side, args.crop_margin),
        selection=FrameSelection(args.frames, Sampling(args.sampling)),
        detector_sha256=default_detector_sha256(args.detector_size),
    )
    with stage("cutting faces", len(rows), "files") as bar:
        report = fill_store(
            args.output,
            rows,
            base=args.manifest.parent,
            settings=settings,
            detector=detector,
            on_row=lambda _: bar.advance(),
        )
    counts = f"{report.cut} files cut, {report.there_already} were there, {len(report.faults)} faults"
    print(f"{args.output}: {counts}")
    if report.faults:
        print(f"{args.output / FAULTS_NAME}: what could not be cut, and why")
    return 0 if report.cut or report.there_already else 1


def _clips(args: argparse.Namespace) -> int:
    """Render the clips and write their manifest."""
    from deepfake_triton.dataset_manifest import read_manifest, rows_of_splits, write_manifest
    from deepfake_triton.models.detectors.build import load_default_detector
    from deepfake_triton.models.face_mesh.finder import load_face_mesh
    from deepfake_triton.preprocessing.crops import CropRule
    from deepfake_triton.training.augmentation.pairs import PairSampler
    from deepfake_triton.training.augmentation.still_clips import ClipSettings, write_still_clips
    from deepfake_triton.training.faces.portraits import extract_portraits

    options = pair_options_from(args)
    require_no_poses(options, args.conditions)
    rows = [row for row in rows_of_splits(read_manifest(args.manifest), args.split) if row.label == "real"]
    detector = load_default_detector(contracts.DEFAULT_DETECTOR_SIZE)
    with stage("finding faces", len(rows), "files") as bar:
        portraits, faults = extract_portraits(
            rows,
            args.manifest.parent,
            detector,
            on_row=lambda _: bar.advance(),
            mesh_network=load_face_mesh() if _moves_heads(args, options) else None,
        )
    if any(map(needs_mesh, args.conditions)):
        faults |= {portrait.path: "no face mesh" for portrait in portraits if portrait.mesh is None}
        portraits = [portrait for portrait in portraits if portrait.mesh is not None]
    if not portraits:
        reason = next(iter(faults.values()), "it has no real rows there")
        raise DatasetError(f"{args.manifest}: no usable face in the split {', '.join(args.split)}: {reason}")
    total = len(portraits) * args.clips * max(1, len(args.conditions))
    with stage("writing clips", total, "pairs") as bar:
        written = write_still_clips(
            PairSampler(portraits, CropRule(), options=options),
            args.output,
            {row.path: row.split for row in rows},
            settings=ClipSettings(args.clips, args.frames, args.seed, args.crf, args.conditions),
            on_clip=bar.advance,
        )
    write_manifest(args.output / "manifest.csv", written)
    print(f"{args.output / 'manifest.csv'}: {len(written)} clips of {len(portraits)} faces")
    for path, reason in faults.items():
        print(f"  left out: {path}: {reason}")
    return 0


def _moves_heads(args: argparse.Namespace, options: PairOptions) -> bool:
    """Tell whether portraits need a mesh."""
    return any(map(needs_mesh, args.conditions)) or options.has("head-pose") or options.has("expressions")

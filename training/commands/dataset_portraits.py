"""`deepfake-triton dataset portraits`: find faces once, for training without a detector."""

from __future__ import annotations

import argparse
from pathlib import Path

from deepfake_triton import contracts
from deepfake_triton.cli_types import integer
from deepfake_triton.console.progress import stage
from deepfake_triton.dataset_manifest import SPLITS
from deepfake_triton.errors import DatasetError


def configure_portraits(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the subcommand and its options."""
    portraits = commands.add_parser(
        "portraits",
        help="find the real faces of a manifest once, for `train` without a detector or a video decoder",
        description="Write the real faces of a manifest, with their landmarks, meshes, people and splits, "
        "into one file that `train` maps into memory in place of the manifest.",
    )
    portraits.set_defaults(action=_portraits)
    portraits.add_argument("manifest", type=Path, metavar="CSV", help="manifest of real photos or videos")
    portraits.add_argument("--output", type=Path, required=True, metavar="FILE", help="the file to write")
    portraits.add_argument(
        "--splits",
        nargs="+",
        choices=SPLITS,
        default=["train", "val"],
        help="rows to use (default: train val)",
    )
    portraits.add_argument(
        "--format",
        choices=("jpeg", "webp"),
        default="jpeg",
        help="compression of the faces: WebP files are two thirds as large, and take several times as long "
        "to decode (default: %(default)s)",
    )
    portraits.add_argument(
        "--quality",
        type=integer(1, 100),
        default=95,
        metavar="N",
        help="quality of the compression, 1 to 100; WebP at 100 is lossless (default: %(default)s)",
    )
    portraits.add_argument(
        "--largest-face",
        type=integer(32, 1024),
        default=224,
        metavar="PX",
        help="scale larger faces down to this; training draws crops of up to 240 px (default: %(default)s)",
    )


def _portraits(args: argparse.Namespace) -> int:
    """Find the faces and write the file."""
    from deepfake_triton.dataset_manifest import read_manifest
    from deepfake_triton.files.hashing import sha256_of_file
    from deepfake_triton.models.detectors.build import load_default_detector
    from deepfake_triton.models.face_mesh.finder import load_face_mesh
    from deepfake_triton.training.faces.portrait_file import PictureQuality, write_portrait_file
    from deepfake_triton.training.faces.portraits import extract_portraits

    real = [row for row in read_manifest(args.manifest) if row.label == "real" and row.split in args.splits]
    detector = load_default_detector(contracts.DEFAULT_DETECTOR_SIZE)
    mesh_network = load_face_mesh()
    found, faults = {}, {}
    with stage("finding faces", len(real), "files") as bar:
        for split in (name for name in SPLITS if name in args.splits):
            found[split], without = extract_portraits(
                [row for row in real if row.split == split],
                args.manifest.parent,
                detector,
                on_row=lambda _: bar.advance(),
                largest_face_px=args.largest_face,
                mesh_network=mesh_network,
            )
            faults.update(without)
    if not any(found.values()):
        reason = next(iter(faults.values()), "it has no real rows there")
        raise DatasetError(f"{args.manifest}: no usable face in {', '.join(args.splits)}: {reason}")
    write_portrait_file(
        args.output,
        found,
        manifest_sha256=sha256_of_file(args.manifest),
        quality=PictureQuality(args.format, args.quality),
    )
    counts = ", ".join(f"{len(members)} {split}" for split, members in found.items())
    print(f"{args.output}: {counts} portraits, {args.output.stat().st_size / 2**20:.1f} MiB")
    everyone = [portrait for members in found.values() for portrait in members]
    meshes = sum(portrait.mesh is not None for portrait in everyone)
    print(f"  {meshes} of {len(everyone)} have a mesh, by which heads turn and eyes close in training")
    for path, reason in faults.items():
        print(f"  left out: {path}: {reason}")
    return 0

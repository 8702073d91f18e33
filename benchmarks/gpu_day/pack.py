"""`pack`: what a GPU host lacks, and what is to be measured there, as archives in parts."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from deepfake_triton.benchmarks.gpu_day.parts import SUMS, Part, write_archive
from deepfake_triton.benchmarks.gpu_day.payload import WHEELS, build_payload
from deepfake_triton.cli_types import integer
from deepfake_triton.errors import InputError

SUMMARY = "pack serving for a GPU host, and files such as exported repositories, in parts of limited size"
SERVING = "serving"
"""Name of the archive with what serves."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `pack`."""
    parser.add_argument(
        "--wheels", type=Path, metavar="DIR", help=f"wheels for that host's Python: {', '.join(WHEELS)}"
    )
    parser.add_argument(
        "--python",
        type=Path,
        metavar="PREFIX",
        help="prefix of a Python of the wheels' version, built with --enable-shared",
    )
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="for the parts")
    parser.add_argument(
        "--part-mib", type=integer(1), default=60, metavar="N", help="MiB of a part (default: %(default)s)"
    )
    parser.add_argument(
        "--architecture",
        type=integer(50),
        default=90,
        metavar="N",
        help="architecture of the GPU, such as 90 for compute capability 9.0 (default: %(default)s)",
    )
    parser.add_argument(
        "--all-kernels",
        action="store_true",
        help="pack attention and mixtures of experts, too, which none of the networks has",
    )
    parser.add_argument(
        "files", type=Path, nargs="*", metavar="PATH", help="file or folder, packed as an archive of its own"
    )


def run(args: argparse.Namespace) -> int:
    """Write the archives' parts, and print the size of each. Raises InputError, MissingDependency."""
    if (args.wheels is None) != (args.python is None):
        raise InputError("got one of --wheels and --python, expected both, or none to pack files alone")
    files = [path.resolve() for path in args.files]
    names = [*([SERVING] if args.wheels else []), *(path.name for path in files)]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise InputError(f"named twice: {', '.join(twice)}; an archive has the name of what it holds")
    if absent := [str(path) for path in files if not path.exists()]:
        raise InputError(f"{', '.join(absent)}: no such file or folder")
    args.output.mkdir(parents=True, exist_ok=True)
    part_bytes = args.part_mib * 2**20
    if args.wheels:
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary) / SERVING
            lean = build_payload(
                args.wheels,
                args.python,
                folder,
                architecture=args.architecture,
                all_kernels=args.all_kernels,
            )
            kept, zeroed = lean.kept_bytes / 2**20, lean.zeroed_bytes / 2**20
            print(f"CUDA provider: {kept:.1f} MiB for sm_{args.architecture} kept, {zeroed:.1f} MiB zeroed")
            _print_parts(write_archive(folder, args.output, part_bytes, of_programs=True), args.output)
    for path in files:
        _print_parts(write_archive(path, args.output, part_bytes), args.output)
    print(f"{args.output / SUMS}: their SHA-256")
    return 0


def _print_parts(parts: tuple[Part, ...], folder: Path) -> None:
    for part in parts:
        path = folder / part.name
        print(f"{path}: {path.stat().st_size / 2**20:.1f} MiB", flush=True)

"""`assemble`: on the GPU host, what `pack` made, in a folder that lasts from call to call.

Needs no package. In the checkout's root, by the Python that has torch:
`PYTHONPATH=src python3 -m deepfake_triton.benchmarks.gpu_day assemble`.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from deepfake_triton.benchmarks.gpu_day.pack import SERVING
from deepfake_triton.benchmarks.gpu_day.parts import (
    Part,
    missing_parts,
    read_sums,
    unpack_archive,
    write_sums,
)

SUMMARY = "on the GPU host: unpack what has arrived, and write the commands that serve and that run torch"
_BESIDE_TORCH = ("onnxruntime*", "rapidjson*", "tritonclient*", "tritonshmutils*")
"""What the Python with torch lacks for comparing torch with ONNX Runtime, and for asking a server."""
_IMPORTS = ("ctypes", "cv2", "grpc", "ml_dtypes", "numpy", "onnxruntime", "psutil", "tritonclient.grpc")
_STATE = ".assembled"


@dataclass(frozen=True)
class Host:
    """Folders of the host: the checkout, and the packages of the Python that has torch and CUDA."""

    checkout: Path
    torch_python: Path
    torch_packages: Path

    @property
    def cuda_libraries(self) -> list[Path]:
        """Folders of the CUDA wheels' libraries."""
        return sorted(path for path in (self.torch_packages / "nvidia").rglob("lib") if path.is_dir())


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `assemble`."""
    parser.add_argument(
        "parts",
        type=Path,
        nargs="?",
        default=Path(".gpuday"),
        metavar="DIR",
        help="parts that came with this call (default: %(default)s)",
    )
    parser.add_argument(
        "--root",
        type=Path,
        default=Path("/tmp/gpu-day"),
        metavar="DIR",
        help="folder that lasts between calls (default: %(default)s)",
    )


def run(args: argparse.Namespace) -> int:
    """Unpack, write the commands, and try their imports; 1 where one fails. Raises InputError, OSError."""
    root = args.root.resolve()
    for line in unpack_arrived(args.parts, root):
        print(line, flush=True)
    if not (root / SERVING).is_dir():
        return 0
    host = Host(Path.cwd(), Path(sys.executable), Path(sysconfig.get_path("purelib")))
    cuda = ", ".join(map(str, host.cuda_libraries))
    print(f"CUDA libraries: {cuda or 'none beside torch, so that ONNX Runtime cannot use a GPU'}")
    failures = [command for command in write_commands(root, host) if not _try_imports(command)]
    return int(bool(failures))


def _try_imports(command: Path) -> bool:
    """Print the versions of what serving and measuring import; return whether all of it is there."""
    versions = f"""
from importlib import import_module
for name in {_IMPORTS!r}:
    print(name, getattr(import_module(name), "__version__", ""))"""
    done = subprocess.run([command, "-c", versions], capture_output=True, text=True, check=False)
    print(f"{command}: {', '.join(done.stdout.splitlines())}\n{done.stderr}", end="", flush=True)
    return done.returncode == 0


def unpack_arrived(carried: Path, root: Path) -> list[str]:
    """Keep the parts that came, unpack each archive of which all parts are there, and say what was done.

    An archive that is there already is unpacked again only if it was packed anew. Raises InputError for a
    part with other bytes than were packed, OSError.
    """
    kept, state = root / "parts", root / _STATE
    for folder in (kept, state):
        folder.mkdir(parents=True, exist_ok=True)
    sums = {**read_sums(kept), **read_sums(carried)}
    for path in sorted(carried.glob("*.part-*")):
        shutil.copyfile(path, kept / path.name)
    write_sums(kept, sums)
    return [_unpack(root, name, parts) for name, parts in sums.items()]


def _unpack(root: Path, name: str, parts: Sequence[Part]) -> str:
    kept, done = root / "parts", root / _STATE / name
    wanted = "".join(f"{part.sha256}\n" for part in parts)
    if done.is_file() and done.read_text() == wanted:
        return f"{name}: in {root / name} already"
    if missing := missing_parts(kept, parts):
        return f"{name}: waits for {', '.join(missing)}"
    start = time.monotonic()
    partial = root / _STATE / f"{name}.partial"  # a call may be cut off
    shutil.rmtree(partial, ignore_errors=True)
    unpack_archive(kept, parts, partial)
    target = root / name
    if target.is_dir():
        shutil.rmtree(target)
    (partial / name).replace(target)
    partial.rmdir()
    done.write_text(wanted)
    for part in parts:
        (kept / part.name).unlink()
    return f"{name}: unpacked into {target} in {time.monotonic() - start:.1f} s"


def write_commands(root: Path, host: Host) -> tuple[Path, Path]:
    """Write `serving-python`, which has Triton and numpy 1, and `torch-python`; return their paths.

    Both import this project from the checkout, and ONNX Runtime with its CUDA provider.
    """
    python = root / SERVING / "python"
    (packages,) = python.glob("lib/python3.*/site-packages")
    # Triton's Python processes ignore PYTHONPATH. The host's packages come last: its numpy is too new.
    (packages / "gpu_day.pth").write_text(f"{host.checkout / 'src'}\n{host.torch_packages}\n")
    beside = root / "beside-torch"
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir()
    for pattern in _BESIDE_TORCH:
        for path in packages.glob(pattern):
            (beside / path.name).symlink_to(path)
    cuda = host.cuda_libraries
    serving = _write_command(root / "serving-python", python / "bin" / "python3", {
        "LD_LIBRARY_PATH": [python / "lib", *cuda],
    })  # fmt: skip
    torch = _write_command(root / "torch-python", host.torch_python, {
        "LD_LIBRARY_PATH": cuda,
        "PYTHONPATH": [beside, host.checkout / "src"],
    })  # fmt: skip
    return serving, torch


def _write_command(command: Path, python: Path, variables: dict[str, list[Path]]) -> Path:
    """Write an executable file that runs a Python with folders put before those of some variables."""
    lines = ["#!/bin/sh"]
    for name, folders in variables.items():
        before = os.pathsep.join(map(str, folders))
        if before:
            lines.append(f'export {name}="{before}${{{name}:+:${name}}}"')
    lines.append(f'exec "{python}" "$@"\n')
    command.write_text("\n".join(lines))
    command.chmod(0o755)
    return command

"""TensorRT engines for the GPU at hand, built before Triton starts."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from deepfake_triton.errors import ServerFailed

_TENSORRT = re.compile(r'^(backend: "tensorrt"|platform: "tensorrt_plan")', re.MULTILINE)


def add_missing_engines(repository: Path) -> None:
    """Run `deepfake-triton engine add` where models of the repository are for TensorRT.

    In a process of its own: it takes TensorRT's Python package, and memory of the GPU that a server needs. It
    writes into the repository. Raises ServerFailed when it fails; it has said why on stderr.
    """
    configs = sorted(repository.glob("*/config.pbtxt"))
    if not any(_TENSORRT.search(path.read_text(errors="replace")) for path in configs):
        return
    command = [sys.executable, "-m", "deepfake_triton", "engine", "add", str(repository)]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, check=False)
    if done.returncode:
        raise ServerFailed(f"{repository}: no engines for this GPU: engine add ended with {done.returncode}")

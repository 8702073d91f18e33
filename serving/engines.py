"""TensorRT engines that a repository lacks for the local GPU, from a cache beside it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

from deepfake_triton.errors import ServerFailed
from deepfake_triton.host.cuda import first_gpu
from deepfake_triton.repository.engine_cache import ModelEngine
from deepfake_triton.repository.files import CONFIG_NAME

_TENSORRT = re.compile(r'^(backend: "tensorrt"|platform: "tensorrt_plan")', re.MULTILINE)
_CAPABILITY = re.compile(r'^cc_model_filenames \{\s*key: "([0-9.]+)"', re.MULTILINE)


def cached_engines(repository: Path, cache: Path | None) -> tuple[ModelEngine, ...]:
    """Return the engines that the models of a repository lack, built into the cache where it lacks them too.

    In a process of its own: it takes TensorRT's Python package, and memory of the GPU that a server needs.
    Raises ServerFailed when it fails; it has said why on stderr.
    """
    if cache is None or not _may_lack_engines(repository):
        return ()
    command = [*("engine", "cache", "--json"), str(repository), str(cache)]
    done = subprocess.run(
        [sys.executable, "-m", "deepfake_triton", *command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        check=False,
    )
    if done.returncode:
        raise ServerFailed(
            f"{repository}: no engines for this GPU: engine cache ended with {done.returncode}"
        )
    return tuple(ModelEngine.from_json(values) for values in json.loads(done.stdout))


def _may_lack_engines(repository: Path) -> bool:
    """Return whether a model is for TensorRT and names no engine for the local GPU, as far as its config's
    text tells: an image without TensorRT's Python package serves whole repositories, too."""
    configs = [path.read_text(errors="replace") for path in sorted(repository.glob(f"*/{CONFIG_NAME}"))]
    gpu = first_gpu()
    has = {gpu.compute_capability} if gpu else set()
    return any(_TENSORRT.search(config) and not has & {*_CAPABILITY.findall(config)} for config in configs)

"""The model repository of the default weights, made once in the user's cache."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from deepfake_triton import contracts
from deepfake_triton.console.progress import pause_progress, stage
from deepfake_triton.errors import OutputRefused
from deepfake_triton.host.onnx_runtime import installed_builds

_UNUSED_S = 30 * 86_400.0
"""Repositories of other releases are removed once they were not used for this long."""


def default_repository() -> Path:
    """Return the repository of the default weights for the installed ONNX Runtime, exported if it is missing.

    Raises OutputRefused where the cache cannot be written, and what an export raises.
    """
    openvino = "onnxruntime-openvino" in installed_builds()
    folder = cache_folder() / "repositories"
    repository = folder / f"{code_fingerprint()[:16]}-{'openvino' if openvino else 'cpu'}"
    try:
        if not repository.is_dir():
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with _locked(folder / "lock"):
                if not repository.is_dir():  # another process may have made it meanwhile
                    _remove_leftovers(folder)
                    _export(repository, openvino=openvino)
        with contextlib.suppress(OSError):  # a cache that others fill
            os.utime(repository)
    except OSError as error:
        raise OutputRefused(
            f"{folder}: the default model repository cannot be made there: {error.strerror or error}; name "
            "another cache in XDG_CACHE_HOME, or a repository that `deepfake-triton export` made"
        ) from error
    return repository


def cache_folder() -> Path:
    """Return this program's folder in the user's cache (XDG Base Directory Specification)."""
    named = os.environ.get("XDG_CACHE_HOME", "")
    base = Path(named) if Path(named).is_absolute() else Path.home() / ".cache"
    return base / "deepfake-triton"


def code_fingerprint() -> str:
    """Return a hash of the code and weights of an export, so that no outdated repository is served."""
    from deepfake_triton.models.default_checkpoint import DEFAULT_CHECKPOINT

    package = Path(contracts.__file__).parent
    digest = hashlib.sha256()
    sources = [*package.glob("*.py")]
    for folder in ("export", "files", "host", "model_repository", "models", "preprocessing", "repository"):
        sources += (package / folder).resolve().rglob("*.py")
    facts = DEFAULT_CHECKPOINT.with_suffix(".facts.json")
    for path in (*sorted(sources), DEFAULT_CHECKPOINT, facts):
        digest.update(path.read_bytes())
    return digest.hexdigest()


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Wait until no other process exports."""
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with stage("waiting for another process that makes the default model repository"):
                fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _export(repository: Path, *, openvino: bool) -> None:
    """Export beside the final place, and rename: a repository is there as a whole or not at all."""
    from deepfake_triton.export.options import ExportOptions, OnnxRuntimeEngine
    from deepfake_triton.export.pipeline import export

    with pause_progress():
        print(
            f"deepfake-triton: making the model repository, once: {repository}", file=sys.stderr, flush=True
        )
    partial = repository.with_name(f".{repository.name}.{os.getpid()}")
    try:
        export(ExportOptions(output=partial, engine=OnnxRuntimeEngine(openvino=openvino)))
        partial.rename(repository)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _remove_leftovers(folder: Path) -> None:
    """Remove what an export that was killed has left, and repositories that nobody uses any more."""
    for path in folder.iterdir():
        is_unused = path.is_dir() and time.time() - path.stat().st_mtime > _UNUSED_S
        if path.name.startswith(".") or is_unused:
            shutil.rmtree(path, ignore_errors=True)

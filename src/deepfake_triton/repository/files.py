"""The files of a model repository that Triton or its Python steps may read."""

from __future__ import annotations

import fcntl
import os
import re
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from deepfake_triton.errors import InvalidRepository
from deepfake_triton.files.atomic import atomic_write
from deepfake_triton.files.foreign_names import FILE_SYSTEM_FOLDERS
from deepfake_triton.files.hashing import sha256_of_stream

CONFIG_NAME = "config.pbtxt"
ONNX_NAME = "model.onnx"
_CACHE_NAME = "__pycache__"
_MOST_FILES, _DEEPEST = 100_000, 16


def is_ignored_name(name: str) -> bool:
    """Return whether an entry of that name is no model: hidden, a file system's own folder, or an editor's
    backup."""
    return name.startswith((".", "#")) or name.endswith("~") or name in FILE_SYSTEM_FOLDERS


def is_plain_name(name: str) -> bool:
    """Return whether a name can be one part of a path in a record: printable, no separator, not hidden."""
    return name.isprintable() and not is_ignored_name(name) and not set(name) & {"/", "\\"} and bool(name)


def is_model_name(name: str) -> bool:
    """Return whether a folder of that name can be served: Triton passes names to a shell."""
    return re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", name) is not None


def list_model_folders(repository: Path) -> list[str]:
    """Return the names of the folders with a config, or with a model file in a version's folder."""
    return sorted(
        entry.name for entry in repository.iterdir() if not is_ignored_name(entry.name) and _is_model(entry)
    )


def list_configured_models(repository: Path) -> list[str]:
    """Return the names of the folders with a config. Raises InvalidRepository for one that cannot be
    served."""
    found = sorted(
        entry.name
        for entry in repository.iterdir()
        if not is_ignored_name(entry.name) and _is_there(entry / CONFIG_NAME)
    )
    for name in found:
        _require_model_name(repository, name)
    return found


def list_model_files(repository: Path, model: str) -> dict[str, Path]:
    """Return every file in a model's folder, by its path in the repository with `/`.

    Hidden names, folders of file systems and `__pycache__` are left out: Triton reads none of them, and under
    `serve` its Python steps are imported from their sources. Raises InvalidRepository for a link that leads
    outside of the repository or to a folder, for a name that cannot be served, and for a folder that cannot
    be read.
    """
    _require_model_name(repository, model)
    root = Path(os.path.realpath(repository))
    found: dict[str, Path] = {}
    _require_inside(root, repository / model)
    waiting = [(model, repository / model)]
    while waiting:
        prefix, folder = waiting.pop()
        for entry in _entries(folder):
            name, path = f"{prefix}/{entry.name}", folder / entry.name
            if is_ignored_name(entry.name) or (entry.name == _CACHE_NAME and path.is_dir()):
                continue
            if not is_plain_name(entry.name):
                raise InvalidRepository(f"{str(path)!r}: a name with control characters; rename or remove it")
            if entry.is_symlink():
                _require_inside(root, path)
                if path.is_dir():
                    raise InvalidRepository(f"{path}: is a link to a folder; put the folder itself there")
            elif entry.is_dir(follow_symlinks=False):
                waiting.append((name, path))
                continue
            found[name] = path
        if len(found) > _MOST_FILES or prefix.count("/") > _DEEPEST:
            raise InvalidRepository(f"{folder}: too many files, or too deep, for a model repository")
    return found


def sha256_of_regular_file(path: Path) -> str:
    """Return the SHA-256 of a regular file. Raises InvalidRepository when it is none, or cannot be read."""
    try:
        with open_regular_file(path) as file:
            return sha256_of_stream(file)
    except OSError as error:
        raise InvalidRepository(f"{path}: cannot be read: {error.strerror}") from error


@contextmanager
def open_regular_file(path: Path) -> Iterator[BinaryIO]:
    """Open a file for reading. Raises InvalidRepository for a pipe or a device, OSError from the system."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe would wait for a writer
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise InvalidRepository(f"{path}: is no regular file; remove it")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            yield file
    finally:
        os.close(descriptor)


def write_shared_file(path: Path, text: str) -> None:
    """Replace a file atomically and durably, readable by all users, since another one may serve it. Raises
    OSError."""
    with atomic_write(path, follow_links=False) as partial, partial.open("w") as file:
        partial.chmod(0o644)
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder, for one change at a time; it is released when the process ends."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _is_model(folder: Path) -> bool:
    return _is_there(folder / CONFIG_NAME) or any(
        child.name.startswith("model.")
        for version in _children(folder)
        if version.name.isdecimal()
        for child in _children(version)
    )


def _is_there(path: Path) -> bool:
    return os.path.lexists(path)  # False where the folder cannot be searched: Triton cannot either


def _children(folder: Path) -> Iterable[Path]:
    try:
        return list(folder.iterdir())
    except OSError:  # no folder, or none of ours
        return ()


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise InvalidRepository(
            f"{folder}: cannot be read: {error.strerror}; a model folder has to be readable by this user"
        ) from error


def _require_model_name(repository: Path, name: str) -> None:
    if not is_model_name(name):
        raise InvalidRepository(
            f"{str(repository / name)!r}: a model's name has letters, digits, _, - and . only; rename or "
            "remove the folder"
        )


def _require_inside(root: Path, path: Path) -> None:
    target = Path(os.path.realpath(path))
    if not target.is_relative_to(root):
        raise InvalidRepository(
            f"{path}: is a link that leads outside of the repository, to {target}; put the files themselves "
            "there"
        )

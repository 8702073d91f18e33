"""The files of a model repository that Triton or its Python steps may read, by name and by content."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import stat
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from deepfake_triton.errors import InvalidRepository

CONFIG_NAME = "config.pbtxt"
_FOREIGN = ("lost+found", "@eaDir", "#recycle")
"""Folders that file systems and network storage add."""
_CACHE_NAME = "__pycache__"
_CHUNK_BYTES = 2**20
_MOST_FILES, _DEEPEST = 100_000, 16


def is_passed_over(name: str) -> bool:
    """Whether an entry of that name is nobody's model: a file system's own folder, hidden, or an editor's
    copy of another."""
    return name.startswith((".", "#")) or name.endswith("~") or name in _FOREIGN


def is_plain_name(name: str) -> bool:
    """Whether it can be one part of a path in a record: printable, no separator, not hidden."""
    return name.isprintable() and not is_passed_over(name) and not set(name) & {"/", "\\"} and bool(name)


def is_model_name(name: str) -> bool:
    """Whether a folder of that name can be served: Triton hands names on to a shell."""
    return re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", name) is not None


def model_folders(repository: Path) -> list[str]:
    """Names of the folders with a config, or with a model file in a version's folder."""
    return sorted(
        entry.name for entry in repository.iterdir() if not is_passed_over(entry.name) and _is_model(entry)
    )


def configured_models(repository: Path) -> list[str]:
    """Names of the folders with a config. Raises InvalidRepository for a name that cannot be served."""
    found = sorted(
        entry.name
        for entry in repository.iterdir()
        if not is_passed_over(entry.name) and _is_there(entry / CONFIG_NAME)
    )
    for name in found:
        _require_model_name(repository, name)
    return found


def files_in(repository: Path, model: str) -> dict[str, Path]:
    """Every file in a model's folder, by its path in the repository with `/`.

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
            if is_passed_over(entry.name) or (entry.name == _CACHE_NAME and path.is_dir()):
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


def sha256_of(path: Path) -> str:
    """Of a regular file, read in pieces. Raises InvalidRepository when it is none, or cannot be read."""
    digest, buffer = hashlib.sha256(), memoryview(bytearray(_CHUNK_BYTES))
    try:
        with opened_regular(path) as descriptor:
            while count := os.readv(descriptor, [buffer]):
                digest.update(buffer[:count])
    except OSError as error:
        raise InvalidRepository(f"{path}: cannot be read: {error.strerror}") from error
    return digest.hexdigest()


@contextmanager
def opened_regular(path: Path) -> Iterator[int]:
    """A descriptor to read from. Raises InvalidRepository for a pipe or a device, OSError from the system."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe would wait for a writer
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise InvalidRepository(f"{path}: is no regular file; remove it")
        yield descriptor
    finally:
        os.close(descriptor)


def write_atomically(path: Path, text: str) -> None:
    """Replace a file as a whole, readable by all users, since another one may serve it. Raises OSError."""
    descriptor, name = tempfile.mkstemp(prefix=".partial-", dir=path.parent)
    partial = Path(name)
    try:
        with os.fdopen(descriptor, "w") as file:
            partial.chmod(0o644)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """One change at a time in one folder; the lock goes with the process."""
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

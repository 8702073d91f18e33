"""The temporary folder of one server: backends and links to models; sweeping those of killed servers."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from deepfake_triton.errors import InvalidRepository, ServerFailed
from deepfake_triton.repository.engine_cache import ModelEngine
from deepfake_triton.repository.files import sha256_of_regular_file
from deepfake_triton.serving.installation.base import PLAIN_PATH

_PREFIX = "deepfake-triton-server-"
_NAME = re.compile(rf"{_PREFIX}[a-z0-9_]{{8}}")
"""Names as Python's `mkdtemp` makes them."""
_UUID = r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_SHARED_MEMORY = Path("/dev/shm")
_OTHER_BASES = ("/tmp", "/var/tmp", "/dev/shm")


class RuntimeFolder:
    """A new folder, locked for as long as this process, or one that inherited `lock`, lives.

    Its path has no character that a shell interprets, and its file system allows programs to start. Raises
    ServerFailed where there is no such place.
    """

    def __init__(self) -> None:
        refused = []
        for base in _base_folders():
            if reason := _why_unfit(base):
                refused.append(f"{base} {reason}")
                continue
            try:
                self.path = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=base))
            except OSError as error:
                refused.append(f"{base}: {error.strerror}")
                continue
            self.lock = _open_locked(str(self.path), wait=True)  # a sweep looks at it for a moment
            return
        raise ServerFailed(
            f"no folder for the server's own files: {'; '.join(refused)}; name one in TMPDIR that is "
            "writable, mounted without noexec, and whose path holds letters, digits, _ . / and - only"
        )

    @property
    def shared_memory_prefix(self) -> str:
        """Prefix of the names of the server's own regions in /dev/shm."""
        return self.path.name

    @property
    def models(self) -> Path:
        """Triton's model repository: links to the served models."""
        return self.path / "models"

    @property
    def backends(self) -> Path:
        """Triton's backend folder."""
        return self.path / "backends"

    def link_models(
        self, repository: Path, names: Sequence[str], engines: Sequence[ModelEngine] = ()
    ) -> None:
        """Link models of the repository, also those that were added since, and put `engines` beside what they
        are engines of. Raises ServerFailed for an engine that is not as it was built."""
        self.models.mkdir(exist_ok=True)
        for name in names:
            link, target = self.models / name, (repository / name).resolve()
            if own := [engine for engine in engines if engine.model == name]:
                _compose(link, target, own)
            elif not link.is_symlink() and target.is_dir():
                link.symlink_to(target)

    def close_shared_memory(self) -> bool:
        """Restrict the server's regions to this user; return whether one of them was open to others."""
        was_open = False
        for region in _regions(self.shared_memory_prefix):
            with contextlib.suppress(OSError):
                if region.stat().st_mode & 0o077:
                    region.chmod(0o600)
                    was_open = True
        return was_open

    def remove_shared_memory(self) -> None:
        """Remove what a server that died left in /dev/shm."""
        _sweep_shared_memory(self.shared_memory_prefix)

    def remove(self) -> None:
        """Remove the folder and the server's shared memory. Idempotent."""
        if self.lock >= 0:
            self.remove_shared_memory()
            shutil.rmtree(self.path, ignore_errors=True)
            os.close(self.lock)
            self.lock = -1


def sweep_leftovers(min_age_s: float = 60) -> None:
    """Remove the folders and the shared memory of this user's servers that were killed: nobody locks those.

    Entries of other users under such a name are neither followed nor changed.
    """
    for base in _base_folders():
        for name in _entry_names(base):
            if _NAME.fullmatch(name):
                with contextlib.suppress(OSError):  # no folder, locked, or another sweep was faster
                    _sweep(base / name, min_age_s)


def _compose(folder: Path, model: Path, engines: Sequence[ModelEngine]) -> None:
    """Make a model's folder of links to the repository's files and copies of engines.

    Copies, since only they stay what was compared with the record.
    """
    versions = {str(engine.version) for engine in engines}
    for made in (folder, *(folder / version for version in sorted(versions))):
        made.mkdir()
        source = model / made.relative_to(folder)
        for entry in source.iterdir():
            if made != folder or entry.name not in versions:
                (made / entry.name).symlink_to(entry)
    for engine in engines:
        copy = folder / str(engine.version) / engine.file_name
        try:
            shutil.copyfile(engine.path, copy)
            digest = sha256_of_regular_file(copy)
        except (OSError, shutil.Error, InvalidRepository) as error:
            raise ServerFailed(f"{engine.path}: cannot be copied for Triton: {error}") from error
        if digest != engine.sha256:
            raise ServerFailed(
                f"{engine.path}: sha256 {digest[:12]}, expected {engine.sha256[:12]}: it changed at this "
                "moment; start the server again"
            )


def _sweep(folder: Path, min_age_s: float) -> None:
    descriptor = _open_locked(str(folder))
    try:
        found = os.fstat(descriptor)
        if found.st_uid == os.geteuid() and time.time() - found.st_mtime >= min_age_s:
            _sweep_shared_memory(folder.name)
            shutil.rmtree(folder)
    finally:
        os.close(descriptor)


def _open_locked(folder: str, *, wait: bool = False) -> int:
    """Return a descriptor that holds the folder's lock.

    Raises OSError for a link or a file, and, unless it may `wait`, where another process has the lock.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if os.fstat(descriptor).st_uid == os.geteuid():  # a stranger's lock is not ours to hold
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _sweep_shared_memory(prefix: str) -> None:
    for region in _regions(prefix):
        region.unlink(missing_ok=True)


def _regions(prefix: str) -> Iterator[Path]:
    """Yield this user's regions of the server whose folder has that name."""
    region = re.compile(re.escape(prefix) + _UUID)
    for name in filter(region.fullmatch, _entry_names(_SHARED_MEMORY)):
        with contextlib.suppress(OSError):
            found = (_SHARED_MEMORY / name).lstat()
            if found.st_uid == os.geteuid() and stat.S_ISREG(found.st_mode):
                yield _SHARED_MEMORY / name


def _entry_names(folder: Path) -> list[str]:
    try:
        return [entry.name for entry in folder.iterdir()]
    except OSError:
        return []


def _base_folders() -> Iterator[Path]:
    """Yield the places for a runtime folder, the best first."""
    try:
        default = tempfile.gettempdir()
    except OSError:  # none that can be written to
        default = ""
    candidates = (default, *_OTHER_BASES, os.environ.get("XDG_RUNTIME_DIR", ""))
    seen = set()
    for base in (Path(name).resolve() for name in candidates if name):
        if base not in seen and base.is_dir():
            seen.add(base)
            yield base


def _why_unfit(base: Path) -> str | None:
    """Return why no program can be started from there; None where one can."""
    if not PLAIN_PATH.fullmatch(str(base)):
        return "has characters that a shell reads"
    if os.statvfs(base).f_flag & os.ST_NOEXEC:
        return "is mounted noexec"
    return None

"""A folder of engines that were built where they are served, beside a repository that is only read.

Of each engine there are two files: `KEY.json`, its record, and `KEY-SHA256.plan`, which the record names by
the engine's SHA-256. Both are renamed into place, the record last, so that a reader finds a whole engine or
none, also where several servers build at once.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import re
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

from deepfake_triton.errors import EngineError
from deepfake_triton.files.hashing import sha256_of_file, sha256_of_stream
from deepfake_triton.json_object import JsonObject
from deepfake_triton.repository.engine_record import EngineKey, EngineRecord

FORMAT = 1
KEPT_S = 30 * 86400.0
"""Time for which an engine that no server takes is kept."""
LOCK_TIMEOUT_S = 900.0
"""Longest wait for another server that builds the same engine: half of what the chart allows, so that there
is time to build after it."""
_ABANDONED_S = 86400.0
"""Age at which files of a build, or of an engine that another one has replaced, are nobody's any more."""
_POLL_S = 0.5
_MOST_BYTES = 2**20
_NAME = re.compile(r"[0-9a-f]{32}(\.json|-[0-9a-f]{64}\.plan)|\.[0-9a-f]{32}\.lock")
_PARTIAL = ".partial-"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class CachedEngine:
    """An engine of the cache, and whether it was built just now."""

    path: Path
    sha256: str
    is_new: bool = False


@dataclass(frozen=True)
class ModelEngine:
    """An engine of the cache for a version of a model; `file_name` is what Triton takes it by."""

    model: str
    version: int
    file_name: str
    path: Path
    sha256: str

    def to_json(self) -> JsonObject:
        """Return the engine as JSON values."""
        return {**asdict(self), "path": str(self.path)}

    @classmethod
    def from_json(cls, values: JsonObject) -> ModelEngine:
        """Read what `to_json` returned. Raises KeyError or TypeError when it is none."""
        names = {"model": str, "version": int, "file_name": str, "path": Path, "sha256": str}
        return cls(**{name: kind(values[name]) for name, kind in names.items()})


def why_unfit(cache: Path, repository: Path) -> str | None:
    """Return why a folder cannot be the cache of engines beside a repository; None where it can."""
    if not cache.is_absolute():
        return f"got {str(cache)!r}, expected an absolute path, such as /engines"
    folder, models = Path(os.path.realpath(cache)), Path(os.path.realpath(repository))
    if folder.exists() and not folder.is_dir():
        return f"{cache}: is a file; name a folder, which is made where it is missing"
    if folder == models or models in folder.parents or folder in models.parents:
        return f"{cache}: is not apart from the repository {repository}; name a folder beside it"
    return None


class EngineCache:
    """The cache in `folder`, which is made when the first engine is built."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def get_or_build(self, key: EngineKey, build: Callable[[Path], EngineRecord]) -> CachedEngine:
        """Return the engine of a key; where there is none, or it cannot be trusted, `build` writes it first.

        Of several processes one builds, and the others wait. Raises EngineError when the folder cannot be
        written, or the engine differs from its key, and what `build` raises.
        """
        if found := self.find(key):
            return found
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with self._turn(key):
                return self.find(key) or self._add(key, build)
        except OSError as error:
            raise EngineError(
                f"{self.folder}: cannot take up engines: {error.strerror or error}; mount a volume there "
                "that this user may write to"
            ) from error

    def find(self, key: EngineKey) -> CachedEngine | None:
        """Return the engine of a key, if its files are whole, as recorded, and nobody else's.

        Warns of one that is not. Marks it as used.
        """
        record_path = self._record_path(key)
        if not os.path.lexists(record_path):
            return None
        try:
            record = _read_record(record_path, key)
            path = self._engine_path(key, record.sha256)
            with _open_own_file(path) as file:
                digest = sha256_of_stream(file)
            if digest != record.sha256:
                raise ValueError(f"{path.name} has sha256 {digest[:12]}: it changed since it was built")
        except OSError as error:
            reason = f"{error.filename}: {error.strerror}"
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            reason = str(error) if isinstance(error, ValueError) else f"no record of an engine: {error!r}"
        else:
            for used in (record_path, path):
                with contextlib.suppress(OSError):  # a cache that is mounted read-only
                    os.utime(used)
            return CachedEngine(path, record.sha256)
        logger.warning("%s: is not used: %.300s; the engine has to be built again", record_path, reason)
        return None

    def _add(self, key: EngineKey, build: Callable[[Path], EngineRecord]) -> CachedEngine:
        with tempfile.TemporaryDirectory(
            prefix=_PARTIAL, dir=self.folder, ignore_cleanup_errors=True
        ) as stage:
            built = Path(stage) / "model.plan"
            record = build(built)
            if not key.is_of(record) or sha256_of_file(built) != record.sha256:
                raise EngineError(f"{built}: the engine is not what was asked for: a file changed meanwhile")
            path = self._engine_path(key, record.sha256)
            values = {"format": FORMAT, "key": key.to_json(), "engine": record.to_json()}
            recorded = (
                Path(stage) / "record.json"
            )  # a name of this process alone, also beside other containers
            recorded.write_text(json.dumps(values, indent=1) + "\n")
            for source, target in ((built, path), (recorded, self._record_path(key))):
                _make_durable(source)
                source.replace(target)
        self._remove_old(key, path)
        return CachedEngine(path, record.sha256, is_new=True)

    def _remove_old(self, key: EngineKey, kept: Path) -> None:
        """Remove what nobody uses any more; not what another server may be about to read."""
        now_s = time.time()
        for path in self.folder.iterdir():
            is_replaced = path.name.startswith(f"{key.digest}-") and path != kept
            with contextlib.suppress(OSError):
                age_s = now_s - path.lstat().st_mtime
                if path.name.startswith(_PARTIAL) and age_s > _ABANDONED_S:
                    for inner in path.iterdir():
                        inner.unlink()
                    path.rmdir()
                elif _NAME.fullmatch(path.name) and age_s > (_ABANDONED_S if is_replaced else KEPT_S):
                    path.unlink()

    @contextlib.contextmanager
    def _turn(self, key: EngineKey) -> Iterator[None]:
        """Hold the lock of a key, so that an engine is built once; without locks all build, and the last one
        wins."""
        path = self.folder / f".{key.digest}.lock"
        try:
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(path, flags, 0o600)
        except OSError:
            yield
            return
        try:
            _wait_for_lock(descriptor, self.folder)
            yield
        finally:
            os.close(descriptor)

    def _record_path(self, key: EngineKey) -> Path:
        return self.folder / f"{key.digest}.json"

    def _engine_path(self, key: EngineKey, sha256: str) -> Path:
        return self.folder / f"{key.digest}-{sha256}.plan"


def _make_durable(path: Path) -> None:
    path.chmod(0o644)
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _read_record(path: Path, key: EngineKey) -> EngineRecord:
    with _open_own_file(path) as file:
        content = file.read(_MOST_BYTES + 1)
    if len(content) > _MOST_BYTES:
        raise ValueError(f"more than {_MOST_BYTES} bytes")
    values = json.loads(content)
    if values["format"] != FORMAT:
        raise ValueError(f"format {values['format']!r:.40}, expected {FORMAT}")
    record = EngineRecord.from_json(values["engine"])
    if values["key"] != key.to_json() or not key.is_of(record):
        raise ValueError("is of another graph, GPU or TensorRT")
    if not re.fullmatch("[0-9a-f]{64}", record.sha256):
        raise ValueError(f"sha256: got {record.sha256!r:.80}")
    return record


@contextlib.contextmanager
def _open_own_file(path: Path) -> Iterator[BinaryIO]:
    """Open a file that only this user and root can have written. Raises ValueError for another, OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise ValueError(f"{path.name} is no regular file")
        if found.st_uid not in {os.geteuid(), 0} or found.st_mode & stat.S_IWOTH:
            raise ValueError(
                f"{path.name} belongs to user {found.st_uid}, mode {stat.S_IMODE(found.st_mode):o}: expected "
                f"user {os.geteuid()}, and a mode by which others cannot write"
            )
        yield file


def _wait_for_lock(descriptor: int, folder: Path) -> None:
    with contextlib.suppress(OSError):
        os.utime(descriptor)
    deadline, has_said = time.monotonic() + LOCK_TIMEOUT_S, False
    while time.monotonic() < deadline:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not has_said:
                logger.warning("%s: another server builds the same engine: waiting for it", folder)
                has_said = True
            time.sleep(_POLL_S)
        except OSError:  # a file system without locks
            return
        else:
            return
    logger.warning("%s: another server has built for %g s: building, too", folder, LOCK_TIMEOUT_S)

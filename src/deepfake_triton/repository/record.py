"""The record of a model repository: what its files were when an export, or its operator, wrote them.

The record is one file at the repository's root. During a change (`export`, `repository activate`, …) it names
both what a file was and what it becomes, so that a server that starts meanwhile accepts either.
"""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from deepfake_triton.errors import DeepfakeError, InvalidRepository
from deepfake_triton.repository.export_report import REPORT_NAME, read_report
from deepfake_triton.repository.files import list_model_files, list_model_folders, sha256_of_regular_file
from deepfake_triton.repository.record_file import (
    RECORD_NAME,
    Record,
    read_record_bytes,
    record_from_bytes,
    write_record,
)


def create_record(repository: Path) -> Record:
    """Return a new record of all files of a repository."""
    paths = _paths(repository, list_model_folders(repository))
    return Record(
        {path: sha256_of_regular_file(file) for path, file in paths.items()}, {}, _export_sha256(repository)
    )


def read_intact_record(repository: Path) -> Record | None:
    """Return the record of a repository that agrees with it, including what an interrupted change has left;
    None without one. Raises InvalidRepository as `check_repository` does."""
    content = read_record_bytes(repository)
    if content is None:
        return None
    found = compare_with_record(repository, record_from_bytes(content, repository / RECORD_NAME))
    return Record(found, {}, _export_sha256(repository))


def compare_with_record(repository: Path, record: Record) -> dict[str, str]:
    """Return the SHA-256 of every file of a repository. Raises InvalidRepository for the first that the
    record does not allow."""
    known = {*record.files, *record.pending}
    folders = {path.partition("/")[0] for path in known if "/" in path}
    for name in list_model_folders(repository):
        if name not in folders:
            raise _refused(repository, name, "a model's folder that the record does not name")
    paths = _paths(repository, sorted(name for name in folders if (repository / name).is_dir()))
    for path in sorted(paths.keys() - known):
        raise _refused(repository, path, "is not in the record")
    found = {}
    for path in sorted(known):
        digest = sha256_of_regular_file(paths[path]) if path in paths else None
        if not record.allows(path, digest):
            raise _not_as_recorded(repository, record, path, digest=digest)
        if digest:
            found[path] = digest
    return found


@contextmanager
def recorded_change(
    repository: Path, record: Record | None, possible: Mapping[str, Iterable[str | None]]
) -> Iterator[None]:
    """Keep the record right around a change of files: `record` (None: there is none) has their SHA-256
    before, `possible` what each may become (None: absent).

    The record names both before the change begins, and afterwards what was found; a crash in between leaves a
    repository that is served with a warning. Raises InvalidRepository when a file became something else.
    """
    if record is None:
        yield
        return
    more = {path: set(digests) - {record.files.get(path)} for path, digests in possible.items()}
    pending = {path: tuple(sorted(digests, key=str)) for path, digests in more.items() if digests}
    begun = replace(record, pending=pending)
    write_record(repository, begun)
    try:
        yield
    except BaseException:
        with contextlib.suppress(DeepfakeError, OSError):  # the first error is the one to report
            _finish_change(repository, begun)
        raise
    _finish_change(repository, begun)


def _finish_change(repository: Path, begun: Record) -> None:
    files = dict(begun.files)
    for path in begun.pending:
        digest = sha256_of_regular_file(repository / path) if (repository / path).exists() else None
        if not begun.allows(path, digest):
            raise _not_as_recorded(repository, begun, path, digest=digest)
        if digest:
            files[path] = digest
        else:
            files.pop(path, None)
    write_record(repository, Record(files, {}, _export_sha256(repository)))


def _paths(repository: Path, models: Iterable[str]) -> dict[str, Path]:
    paths = {path: file for model in models for path, file in list_model_files(repository, model).items()}
    if (repository / REPORT_NAME).exists():
        paths[REPORT_NAME] = repository / REPORT_NAME
    return paths


def _export_sha256(repository: Path) -> str:
    """Return the identity of the export whose report stands at the root; "" without one."""
    try:
        return read_report(repository / REPORT_NAME).export_sha256
    except InvalidRepository:
        return ""


def _not_as_recorded(repository: Path, record: Record, path: str, *, digest: str | None) -> InvalidRepository:
    if digest is None:
        return _refused(repository, path, "is missing")
    expected = record.files.get(path) or next(filter(None, record.pending[path]), "none")
    return _refused(
        repository, path, f"sha256 {digest[:12]}, but the record has {expected[:12]}: it changed since"
    )


def _refused(repository: Path, path: str, what: str) -> InvalidRepository:
    return InvalidRepository(
        f"{repository / path}: {what}; restore it, or export into a new folder; after a change of your own: "
        f"deepfake-triton repository accept {shlex.quote(str(repository))}"
    )

"""Approval of a model repository by its operator: accept its files as they are, sign its record."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from deepfake_triton.errors import InvalidRepository
from deepfake_triton.repository.check import (
    check_against_record,
    no_models_message,
    no_record_message,
    require_folder,
)
from deepfake_triton.repository.files import lock_folder
from deepfake_triton.repository.record import create_record
from deepfake_triton.repository.record_file import (
    RECORD_NAME,
    read_record_bytes,
    record_from_bytes,
    write_record,
)
from deepfake_triton.repository.signature import write_signature


@dataclass(frozen=True)
class Acceptance:
    """The changes since the last record, as paths in the repository."""

    added: tuple[str, ...]
    changed: tuple[str, ...]
    removed: tuple[str, ...]


def accept(repository: Path) -> Acceptance:
    """Record a repository as it is now, and return what changed. Raises InvalidRepository when it is none."""
    require_folder(repository)
    try:
        with lock_folder(repository):
            before = _read_recorded_files(repository)
            record = create_record(repository)
            if not record.models:
                raise InvalidRepository(no_models_message(repository))
            write_record(repository, record)
    except OSError as error:
        raise _unwritable(repository, error) from error
    after = record.files
    return Acceptance(
        tuple(sorted(after.keys() - before.keys())),
        tuple(sorted(path for path in after.keys() & before.keys() if after[path] != before[path])),
        tuple(sorted(before.keys() - after.keys())),
    )


def sign(repository: Path, private_key: Path) -> Path:
    """Sign the record of a repository that agrees with it, and return the signature's file.

    Raises InvalidRepository when it does not, or a change of it is not finished; InvalidKey for the key (PEM,
    PKCS8, Ed25519); MissingDependency without the library.
    """
    require_folder(repository)
    try:
        with lock_folder(repository):
            content = read_record_bytes(repository)
            if content is None:
                raise InvalidRepository(no_record_message(repository))
            checked = check_against_record(repository, content, None)
            if checked.warnings:
                raise InvalidRepository(checked.warnings[0])
            return write_signature(repository, content, private_key)
    except OSError as error:
        raise _unwritable(repository, error) from error


def _read_recorded_files(repository: Path) -> Mapping[str, str]:
    with contextlib.suppress(InvalidRepository):  # one that cannot be read is replaced as well
        return record_from_bytes(read_record_bytes(repository) or b"", repository / RECORD_NAME).files
    return {}


def _unwritable(repository: Path, error: OSError) -> InvalidRepository:
    return InvalidRepository(
        f"{repository}: cannot be written: {error.strerror}; run this as a user who may write there"
    )

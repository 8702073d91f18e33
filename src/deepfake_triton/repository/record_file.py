"""The file `repository_record.json`: its format, and how it is read and replaced."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deepfake_triton import __version__
from deepfake_triton.errors import InvalidRepository
from deepfake_triton.repository.export_report import REPORT_NAME
from deepfake_triton.repository.files import (
    is_model_name,
    is_plain_name,
    open_regular_file,
    write_shared_file,
)
from deepfake_triton.repository.signature import SIGNATURE_NAME

RECORD_NAME = "repository_record.json"
FORMAT = 1
_MOST_BYTES, _DEEPEST = 2**25, 20


@dataclass(frozen=True)
class Record:
    """SHA-256 of every file by its path in the repository, and of which export the report is.

    `pending` has, for a change that has begun, what else a file may be; None: absent.
    """

    files: Mapping[str, str] = field(default_factory=dict)
    pending: Mapping[str, tuple[str | None, ...]] = field(default_factory=dict)
    export_sha256: str = ""

    @property
    def models(self) -> tuple[str, ...]:
        """The model folders of the recorded files."""
        return tuple(sorted({path.partition("/")[0] for path in self.files if "/" in path}))

    def allows(self, path: str, digest: str | None) -> bool:
        """Return whether a file may have this SHA-256; None: be absent."""
        return digest == self.files.get(path) or digest in self.pending.get(path, ())


def read_record_bytes(repository: Path) -> bytes | None:
    """Return the bytes of the record; None without one. Raises InvalidRepository when they cannot be read."""
    path = repository / RECORD_NAME
    try:
        with open_regular_file(path) as file:
            content = file.read(_MOST_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InvalidRepository(f"{path}: cannot be read: {error.strerror}") from error
    if len(content) > _MOST_BYTES:
        raise _no_record(path, f"more than {_MOST_BYTES} bytes")
    return content


def write_record(repository: Path, record: Record) -> None:
    """Replace the record atomically; the signature of the record before is removed. Raises OSError."""
    path = repository / RECORD_NAME
    with contextlib.suppress(InvalidRepository):
        content = read_record_bytes(repository)
        if content is not None and record_from_bytes(content, path) == record:
            return
    (repository / SIGNATURE_NAME).unlink(missing_ok=True)
    write_shared_file(path, _text(record))


def record_from_bytes(content: bytes, path: Path) -> Record:
    """Parse a record. Raises InvalidRepository when it is none, or names files outside of a repository."""
    try:
        values = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise _no_record(path, f"no JSON: {error}") from error
    if not isinstance(values, dict):
        raise _no_record(path, "expected an object")
    version = values.get("format")
    if isinstance(version, int) and version > FORMAT:
        raise InvalidRepository(
            f"{path}: format {version}, this deepfake-triton reads {FORMAT}: install a newer one"
        )
    files, pending = values.get("files"), values.get("pending", {})
    export = values.get("export_sha256", "")
    if version != FORMAT or isinstance(version, bool):
        raise _no_record(path, f"format: got {version!r:.40}, expected {FORMAT}")
    if not isinstance(files, dict) or not isinstance(pending, dict) or not isinstance(export, str):
        raise _no_record(path, "files, pending or export_sha256 is missing or of another type")
    for name in (*files, *pending):
        if not _is_path(name):
            raise _no_record(path, f"{name!r:.200} is no path of a model's file")
    for name, digests in (*((name, [digest]) for name, digest in files.items()), *pending.items()):
        absent = name in pending
        if not isinstance(digests, list) or not all(
            _is_digest(digest) or (absent and digest is None) for digest in digests
        ):
            raise _no_record(path, f"{name!r:.200}: expected a SHA-256, got {digests!r:.80}")
    record = Record(files, {name: tuple(digests) for name, digests in pending.items()}, export)
    if values.get("models") != list(record.models):
        raise _no_record(path, "models are not the folders of its files")
    return record


def _text(record: Record) -> str:
    values: dict[str, Any] = {
        "format": FORMAT,
        "written_by": f"deepfake-triton {__version__}",
        "export_sha256": record.export_sha256,
        "models": record.models,
        "files": dict(sorted(record.files.items())),
    }
    if record.pending:
        values["pending"] = dict(sorted(record.pending.items()))
    return json.dumps(values, indent=1) + "\n"


def _is_path(name: str) -> bool:
    parts = name.split("/")
    is_in_model = 1 < len(parts) <= _DEEPEST and is_model_name(parts[0]) and all(map(is_plain_name, parts))
    return name == REPORT_NAME or is_in_model


def _is_digest(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value) is not None


def _no_record(path: Path, reason: str) -> InvalidRepository:
    return InvalidRepository(
        f"{path}: is no record of a repository: {reason}; export again, or record what is there with: "
        f"deepfake-triton repository accept {path.parent}"
    )

"""The record of a model repository: what its files were when an export, or its operator, wrote them.

The record is one file at the repository's root. During a change (`export`, `repository activate`, …) it names
both what a file was and what it becomes, so that a server that starts meanwhile finds no fault.
"""

from __future__ import annotations

import contextlib
import json
import shlex
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from deepfake_triton.errors import DeepfakeError, InvalidRepository
from deepfake_triton.integrity import REPORT_NAME, require_unchanged
from deepfake_triton.repository_files import (
    CONFIG_NAME,
    configured_models,
    files_in,
    locked,
    model_folders,
    sha256_of,
)
from deepfake_triton.repository_record_file import (
    RECORD_NAME,
    Record,
    read_content,
    record_from_text,
    write_record,
)
from deepfake_triton.repository_signature import require_signature, write_signature

_ATTEMPTS = 10
"""Of a check: a change that is being made may rewrite the record between two of its steps."""


@dataclass(frozen=True)
class CheckedRepository:
    """The models that Triton is to load, and what the operator should know."""

    models: tuple[str, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class Acceptance:
    """What changed since the last record, as paths in the repository."""

    added: tuple[str, ...]
    changed: tuple[str, ...]
    removed: tuple[str, ...]


def check_repository(repository: Path, *, public_key: Path | None = None) -> CheckedRepository:
    """Compare a repository with its record, and return the models to load.

    With `public_key` (PEM, Ed25519) the record has to be signed by its private key. A repository without a
    record, of an older export, is compared with the reports of its versions. Raises InvalidRepository with
    the first file or folder that is not as recorded; InvalidKey and MissingDependency for the signature.
    """
    _require_folder(repository)
    for _ in range(_ATTEMPTS - 1):
        content = read_content(repository)
        try:
            return _checked(repository, content, public_key)
        except InvalidRepository:
            if read_content(repository) == content:
                raise
    return _checked(repository, read_content(repository), public_key)


def intact_record(repository: Path) -> Record | None:
    """The record of a repository that agrees with it, with what an interrupted change has left; None without
    one. Raises InvalidRepository as `check_repository` does."""
    content = read_content(repository)
    if content is None:
        return None
    found = _as_recorded(repository, record_from_text(content, repository / RECORD_NAME))
    return Record(found, {}, _export_sha256(repository))


def accept(repository: Path) -> Acceptance:
    """Record a repository as it is now, and say what changed. Raises InvalidRepository when it is none."""
    _require_folder(repository)
    try:
        with locked(repository):
            before = _files_before(repository)
            record = record_of(repository)
            if not record.models:
                raise InvalidRepository(_no_models(repository))
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
    _require_folder(repository)
    try:
        with locked(repository):
            content = read_content(repository)
            if content is None:
                raise InvalidRepository(_without_record_advice(repository))
            checked = _checked(repository, content, None)
            if checked.warnings:
                raise InvalidRepository(checked.warnings[0])
            return write_signature(repository, content, private_key)
    except OSError as error:
        raise _unwritable(repository, error) from error


def record_of(repository: Path) -> Record:
    """A new record of all that stands in a repository."""
    paths = _paths(repository, model_folders(repository))
    return Record({path: sha256_of(file) for path, file in paths.items()}, {}, _export_sha256(repository))


@contextmanager
def changing(
    repository: Path, record: Record | None, outcomes: Mapping[str, Iterable[str | None]]
) -> Iterator[None]:
    """Around a change of files: `record` (None: there is none) names what they were, `outcomes` what each may
    become, by SHA-256 or None for absent.

    The record names both before the change begins, and afterwards what was found; a crash in between leaves a
    repository that is served, and says so. Raises InvalidRepository when a file became something else.
    """
    if record is None:
        yield
        return
    more = {path: set(digests) - {record.files.get(path)} for path, digests in outcomes.items()}
    pending = {path: tuple(sorted(digests, key=str)) for path, digests in more.items() if digests}
    begun = replace(record, pending=pending)
    write_record(repository, begun)
    try:
        yield
    except BaseException:
        with contextlib.suppress(DeepfakeError, OSError):  # the first error is the one to report
            _settle(repository, begun)
        raise
    _settle(repository, begun)


def _checked(repository: Path, content: bytes | None, public_key: Path | None) -> CheckedRepository:
    if content is None:
        if public_key:
            raise InvalidRepository(_without_record_advice(repository))
        return _without_record(repository)
    if public_key:
        require_signature(repository, content, public_key)
    record = record_from_text(content, repository / RECORD_NAME)
    found = _as_recorded(repository, record)
    if not record.models:
        raise InvalidRepository(
            f"{repository}: the export that writes it has not finished; wait for it, or run it again"
        )
    new = {
        path.partition("/")[0] for path in found if path.endswith(f"/{CONFIG_NAME}") and path.count("/") == 1
    }
    warnings = [
        f"{repository}: a change of its files is being made or was interrupted; if so, run the same command "
        f"again, or: deepfake-triton repository accept {repository}"
    ]
    return CheckedRepository(tuple(sorted({*record.models, *new})), tuple(warnings if record.pending else ()))


def _without_record(repository: Path) -> CheckedRepository:
    models = configured_models(repository)
    if not models:
        raise InvalidRepository(_no_models(repository))
    require_unchanged(repository)
    return CheckedRepository(
        tuple(models),
        (
            f"{repository}: has no {RECORD_NAME}, so only graphs and engines were checked, and every folder "
            f"with a {CONFIG_NAME} is served; record it with: deepfake-triton repository accept {repository}",
        ),
    )


def _as_recorded(repository: Path, record: Record) -> dict[str, str]:
    """SHA-256 of every file that is there. Raises InvalidRepository for the first that the record does not
    allow."""
    known = {*record.files, *record.pending}
    folders = {path.partition("/")[0] for path in known if "/" in path}
    for name in model_folders(repository):
        if name not in folders:
            raise _refused(repository, name, "a model's folder that the record does not name")
    paths = _paths(repository, sorted(name for name in folders if (repository / name).is_dir()))
    for path in sorted(paths.keys() - known):
        raise _refused(repository, path, "is not in the record")
    found = {}
    for path in sorted(known):
        digest = sha256_of(paths[path]) if path in paths else None
        if not record.allows(path, digest):
            raise _not_as_recorded(repository, record, path, digest)
        if digest:
            found[path] = digest
    return found


def _settle(repository: Path, begun: Record) -> None:
    files = dict(begun.files)
    for path in begun.pending:
        digest = sha256_of(repository / path) if (repository / path).exists() else None
        if not begun.allows(path, digest):
            raise _not_as_recorded(repository, begun, path, digest)
        if digest:
            files[path] = digest
        else:
            files.pop(path, None)
    write_record(repository, Record(files, {}, _export_sha256(repository)))


def _paths(repository: Path, models: Iterable[str]) -> dict[str, Path]:
    paths = {path: file for model in models for path, file in files_in(repository, model).items()}
    if (repository / REPORT_NAME).exists():
        paths[REPORT_NAME] = repository / REPORT_NAME
    return paths


def _files_before(repository: Path) -> Mapping[str, str]:
    with contextlib.suppress(InvalidRepository):  # one that cannot be read is replaced as well
        return record_from_text(read_content(repository) or b"", repository / RECORD_NAME).files
    return {}


def _export_sha256(repository: Path) -> str:
    """Of the export whose report stands at the root."""
    try:
        found = json.loads((repository / REPORT_NAME).read_bytes())["export_sha256"]
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    return found if isinstance(found, str) else ""


def _require_folder(repository: Path) -> None:
    if not repository.is_dir():
        what = "is a file" if repository.exists() else "no such folder"
        raise InvalidRepository(
            f"{repository}: {what}; expected a model repository from deepfake-triton export"
        )
    try:
        any(repository.iterdir())
    except OSError as error:
        raise InvalidRepository(f"{repository}: cannot be read: {error.strerror}") from error


def _no_models(repository: Path) -> str:
    return (
        f"{repository}: no model repository: no <model>/{CONFIG_NAME} inside; "
        f"write one with: deepfake-triton export --output {repository}"
    )


def _without_record_advice(repository: Path) -> str:
    return (
        f"{repository}: has no {RECORD_NAME}, which a signature is of: export again, or record what is there "
        f"with: deepfake-triton repository accept {repository}"
    )


def _unwritable(repository: Path, error: OSError) -> InvalidRepository:
    return InvalidRepository(
        f"{repository}: cannot be written: {error.strerror}; run this as a user who may write there"
    )


def _not_as_recorded(repository: Path, record: Record, path: str, digest: str | None) -> InvalidRepository:
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

"""The check of a model repository against its record, before its models are served."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from deepfake_triton.errors import InvalidRepository
from deepfake_triton.repository.files import CONFIG_NAME, list_configured_models
from deepfake_triton.repository.integrity import require_unchanged
from deepfake_triton.repository.record import compare_with_record
from deepfake_triton.repository.record_file import RECORD_NAME, read_record_bytes, record_from_bytes
from deepfake_triton.repository.signature import require_signature

_ATTEMPTS = 10
"""Attempts of a check: a change in progress may rewrite the record between two of its steps."""


@dataclass(frozen=True)
class CheckedRepository:
    """The models that Triton is to load, and warnings for the operator."""

    models: tuple[str, ...]
    warnings: tuple[str, ...]


def check_repository(repository: Path, *, public_key: Path | None = None) -> CheckedRepository:
    """Compare a repository with its record, and return the models to load.

    With `public_key` (PEM, Ed25519) the record has to be signed by its private key. A repository without a
    record, of an older export, is compared with the reports of its versions. Raises InvalidRepository with
    the first file or folder that is not as recorded; InvalidKey and MissingDependency for the signature.
    """
    require_folder(repository)
    for _ in range(_ATTEMPTS - 1):
        content = read_record_bytes(repository)
        try:
            return check_against_record(repository, content, public_key)
        except InvalidRepository:
            if read_record_bytes(repository) == content:
                raise
    return check_against_record(repository, read_record_bytes(repository), public_key)


def check_against_record(
    repository: Path, content: bytes | None, public_key: Path | None
) -> CheckedRepository:
    """Compare a repository with the `content` of its record; None: it has none. Raises as `check_repository`
    does."""
    if content is None:
        if public_key:
            raise InvalidRepository(no_record_message(repository))
        return _check_reports(repository)
    if public_key:
        require_signature(repository, content, public_key)
    record = record_from_bytes(content, repository / RECORD_NAME)
    found = compare_with_record(repository, record)
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


def require_folder(repository: Path) -> None:
    """Raise InvalidRepository unless a repository is a folder that can be read."""
    if not repository.is_dir():
        what = "is a file" if repository.exists() else "no such folder"
        raise InvalidRepository(
            f"{repository}: {what}; expected a model repository from deepfake-triton export"
        )
    try:
        any(repository.iterdir())
    except OSError as error:
        raise InvalidRepository(f"{repository}: cannot be read: {error.strerror}") from error


def no_models_message(repository: Path) -> str:
    """Return the message for a folder without models."""
    return (
        f"{repository}: no model repository: no <model>/{CONFIG_NAME} inside; "
        f"write one with: deepfake-triton export --output {repository}"
    )


def no_record_message(repository: Path) -> str:
    """Return the message for a repository whose signature is required and that has no record."""
    return (
        f"{repository}: has no {RECORD_NAME}, which a signature is of: export again, or record what is there "
        f"with: deepfake-triton repository accept {repository}"
    )


def _check_reports(repository: Path) -> CheckedRepository:
    models = list_configured_models(repository)
    if not models:
        raise InvalidRepository(no_models_message(repository))
    require_unchanged(repository)
    return CheckedRepository(
        tuple(models),
        (
            f"{repository}: has no {RECORD_NAME}, so only graphs and engines were checked, and every folder "
            f"with a {CONFIG_NAME} is served; record it with: deepfake-triton repository accept {repository}",
        ),
    )

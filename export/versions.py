"""The versions that stand in a model repository: which there are, which is served, and how that changes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

from deepfake_triton import contracts
from deepfake_triton.errors import RepositoryConflict
from deepfake_triton.export.configs import config_from_text, loaded_versions
from deepfake_triton.export.repository import CONFIG_NAME, CONFIGS_NAME, staging
from deepfake_triton.export.version_switch import (
    NoServer,
    Server,
    config_outcomes,
    configs_meanwhile,
    switch,
)
from deepfake_triton.integrity import REPORT_NAME, require_unchanged
from deepfake_triton.repository_files import locked, sha256_of
from deepfake_triton.repository_record import changing, intact_record

_NAMES = tuple(spec.name for spec in contracts.served_models())
_ENSEMBLE = contracts.deepfake_detector().name


@dataclass(frozen=True)
class VersionInfo:
    """One version, as its export said; `active` is the one that the ensemble's config names."""

    version: int
    active: bool
    engine: str
    precision: str
    accelerator: str | None
    weights: str
    checkpoint: str
    export_sha256: str


def versions_of(repository: Path) -> list[VersionInfo]:
    """Every whole version, the oldest first. Raises RepositoryConflict when the folder is no repository."""
    with _typed_errors(repository):
        active = active_version(repository)
        return [_info(repository, version, version == active) for version in _whole_versions(repository)]


def active_version(repository: Path) -> int:
    """What a server that starts now serves. Raises RepositoryConflict when the folder is no repository."""
    path = repository / _ENSEMBLE / CONFIG_NAME
    if not path.is_file():
        raise RepositoryConflict(f"{repository}: no repository: {path} is missing; `export` writes one")
    with _typed_errors(repository):
        (version,) = loaded_versions(config_from_text(path.read_text()))
        return version


def activate(repository: Path, version: int, server: Server | None = None) -> int:
    """Make `version` the one that is served, and return which it was before.

    A `server` that runs on the repository changes over; what an interrupted call has left is finished. Raises
    RepositoryConflict when there is no such version, InvalidRepository when a file is not as recorded or
    exported, and what the server raises.
    """
    active_version(repository)
    with _typed_errors(repository), locked(repository):
        record = intact_record(repository)
        if record is None:
            require_unchanged(repository, version)
        whole = _whole_versions(repository)
        if version not in whole:
            raise RepositoryConflict(
                f"{repository}: no version {version}; there are {', '.join(map(str, whole)) or 'none'}"
            )
        running = server.loaded(_ENSEMBLE) if server else set()
        before = max(running, default=active_version(repository))
        configs = _configs(repository, version)
        fallback = _configs(repository, before) if before in whole else None
        meanwhile = configs_meanwhile(repository, configs, server or NoServer())
        report = repository / _ENSEMBLE / str(version) / REPORT_NAME
        outcomes = config_outcomes(configs, meanwhile, fallback or {}) | {REPORT_NAME: {sha256_of(report)}}
        with staging(repository / _ENSEMBLE) as stage, changing(repository, record, outcomes):
            switch(repository, configs, meanwhile, stage, server or NoServer(), fallback)
            shutil.copyfile(report, stage / REPORT_NAME)
            (stage / REPORT_NAME).replace(repository / REPORT_NAME)
        return before


def prune(repository: Path, keep: int) -> list[int]:
    """Remove all but the versions that a config names and the newest `keep` others; the versions that went.

    Raises RepositoryConflict when the folder is no repository, or a version cannot be removed;
    InvalidRepository when a file is not as recorded.
    """
    active_version(repository)
    with _typed_errors(repository), locked(repository):
        record = intact_record(repository)
        named = {
            version
            for name in _NAMES
            for version in loaded_versions(config_from_text((repository / name / CONFIG_NAME).read_text()))
        }
        others = [version for version in _all_versions(repository) if version not in named]
        gone = others[: max(0, len(others) - keep)]
        folders = [  # the ensemble's first: what is left is no whole version
            f"{name}/{version}" for version in gone for name in (_ENSEMBLE, *_NAMES)
        ]
        outcomes = {
            path: {None}
            for path in (record.files if record else ())
            if "/".join(path.split("/")[:2]) in folders
        }
        with changing(repository, record, outcomes):
            for folder in folders:
                if (repository / folder).is_dir():
                    shutil.rmtree(repository / folder)
        return gone


@contextmanager
def _typed_errors(repository: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, text_format.ParseError) as error:
        raise RepositoryConflict(f"{repository}: cannot be used as a repository: {error}") from error


def _all_versions(repository: Path) -> list[int]:
    found = {
        int(path.name)
        for name in _NAMES
        for path in (repository / name).glob("*")
        if path.is_dir() and path.name.isdecimal()
    }
    return sorted(found)


def _whole_versions(repository: Path) -> list[int]:
    return [
        version
        for version in _all_versions(repository)
        if all((repository / name / str(version)).is_dir() for name in _NAMES)
    ]


def _info(repository: Path, version: int, active: bool) -> VersionInfo:
    path = repository / _ENSEMBLE / str(version) / REPORT_NAME
    report = json.loads(path.read_text()) if path.is_file() else {}
    checkpoint = report.get("checkpoint", {})
    return VersionInfo(
        version=version,
        active=active,
        engine=report.get("engine", "unknown"),
        precision=report.get("precision", "unknown"),
        accelerator=report.get("accelerator"),
        weights=checkpoint.get("weights", "unknown"),
        checkpoint=checkpoint.get("source", "unknown"),
        export_sha256=report.get("export_sha256", ""),
    )


def _configs(repository: Path, version: int) -> dict[str, pb.ModelConfig]:
    """As they were exported, the ensemble's last."""
    folder = repository / _ENSEMBLE / str(version) / CONFIGS_NAME
    missing = [name for name in _NAMES if not (folder / f"{name}.pbtxt").is_file()]
    if missing:
        raise RepositoryConflict(
            f"{repository}: version {version} does not keep its configs in {folder}; export it again"
        )
    return {name: config_from_text((folder / f"{name}.pbtxt").read_text()) for name in _NAMES}

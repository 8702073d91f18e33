"""The versions of a model repository: list, activate and prune them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

from deepfake_triton import contracts
from deepfake_triton.errors import RepositoryConflict
from deepfake_triton.export.repository.configs import config_from_text, loaded_versions
from deepfake_triton.export.repository.layout import (
    CONFIGS_NAME,
    ENSEMBLE_NAME,
    SERVED_NAMES,
    list_version_numbers,
    staging_folder,
)
from deepfake_triton.export.repository.version_switch import (
    NoServer,
    Server,
    possible_configs,
    switch,
    transition_configs,
)
from deepfake_triton.repository.export_report import REPORT_NAME, ExportReport, read_report
from deepfake_triton.repository.files import CONFIG_NAME, lock_folder, sha256_of_regular_file
from deepfake_triton.repository.integrity import require_unchanged
from deepfake_triton.repository.record import read_intact_record, recorded_change

_ADDED_LATER = (contracts.probability_mask().name, contracts.frame_sampler().name)
"""Models that versions of older exports, or with other options, lack; a complete version has all others."""


@dataclass(frozen=True)
class VersionInfo:
    """One version as its report describes it; the ensemble's config names the `active` one."""

    version: int
    active: bool
    engine: str
    precision: str
    accelerator: str | None
    weights: str
    checkpoint: str
    export_sha256: str


def list_versions(repository: Path) -> list[VersionInfo]:
    """Return the complete versions, oldest first. Raises RepositoryConflict when the folder is no repository,
    InvalidRepository when a report cannot be read."""
    with _as_conflicts(repository):
        active = active_version(repository)
        return [_info(repository, version, version == active) for version in _complete_versions(repository)]


def active_version(repository: Path) -> int:
    """Return the version that a server starts with. Raises RepositoryConflict when the folder is no
    repository."""
    path = repository / ENSEMBLE_NAME / CONFIG_NAME
    if not path.is_file():
        raise RepositoryConflict(f"{repository}: no repository: {path} is missing; `export` writes one")
    with _as_conflicts(repository):
        (version,) = loaded_versions(config_from_text(path.read_text()))
        return version


def activate(repository: Path, version: int, server: Server | None = None) -> int:
    """Make `version` the served one, and return the version before.

    A `server` running on the repository switches over; an interrupted call is completed. Raises
    RepositoryConflict when there is no such version, InvalidRepository when a file is not as recorded or
    exported, and what the server raises.
    """
    active_version(repository)
    with _as_conflicts(repository), lock_folder(repository):
        record = read_intact_record(repository)
        if record is None:
            require_unchanged(repository, version)
        complete = _complete_versions(repository)
        if version not in complete:
            raise RepositoryConflict(
                f"{repository}: no version {version}; there are {', '.join(map(str, complete)) or 'none'}"
            )
        running = server.loaded(ENSEMBLE_NAME) if server else set()
        before = max(running, default=active_version(repository))
        configs = _configs(repository, version)
        fallback = _configs(repository, before) if before in complete else None
        if fallback is not None:  # a step that the version before lacks stays as it is
            fallback = _current_configs(repository) | fallback
        transition = transition_configs(repository, configs, server or NoServer())
        report = repository / ENSEMBLE_NAME / str(version) / REPORT_NAME
        outcomes = possible_configs(configs, transition, fallback or {}) | {
            REPORT_NAME: {sha256_of_regular_file(report)}
        }
        with (
            staging_folder(repository / ENSEMBLE_NAME) as stage,
            recorded_change(repository, record, outcomes),
        ):
            switch(
                repository,
                configs,
                transition=transition,
                stage=stage,
                server=server or NoServer(),
                fallback=fallback,
            )
            shutil.copyfile(report, stage / REPORT_NAME)
            (stage / REPORT_NAME).replace(repository / REPORT_NAME)
        return before


def prune(repository: Path, keep: int) -> list[int]:
    """Remove all but the versions that a config names and the newest `keep` others; return those removed.

    Raises RepositoryConflict when the folder is no repository, or a version cannot be removed;
    InvalidRepository when a file is not as recorded.
    """
    active_version(repository)
    with _as_conflicts(repository), lock_folder(repository):
        record = read_intact_record(repository)
        named = {
            version for config in _current_configs(repository).values() for version in loaded_versions(config)
        }
        others = [version for version in list_version_numbers(repository) if version not in named]
        gone = others[: max(0, len(others) - keep)]
        folders = [  # the ensemble's first: what is left is no whole version
            f"{name}/{version}" for version in gone for name in (ENSEMBLE_NAME, *SERVED_NAMES)
        ]
        outcomes = {
            path: {None}
            for path in (record.files if record else ())
            if "/".join(path.split("/")[:2]) in folders
        }
        with recorded_change(repository, record, outcomes):
            for folder in folders:
                if (repository / folder).is_dir():
                    shutil.rmtree(repository / folder)
        return gone


@contextmanager
def _as_conflicts(repository: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, text_format.ParseError) as error:
        raise RepositoryConflict(f"{repository}: cannot be used as a repository: {error}") from error


def _complete_versions(repository: Path) -> list[int]:
    return [
        version
        for version in list_version_numbers(repository)
        if all((repository / name / str(version)).is_dir() for name in _models_of(repository, version))
    ]


def _models_of(repository: Path, version: int) -> list[str]:
    """Return the models that a version was exported with, the ensemble last."""
    folder = repository / ENSEMBLE_NAME / str(version) / CONFIGS_NAME
    return [name for name in SERVED_NAMES if name not in _ADDED_LATER or (folder / f"{name}.pbtxt").is_file()]


def _current_configs(repository: Path) -> dict[str, pb.ModelConfig]:
    names = [name for name in SERVED_NAMES if name not in _ADDED_LATER or (repository / name).is_dir()]
    return {name: config_from_text((repository / name / CONFIG_NAME).read_text()) for name in names}


def _info(repository: Path, version: int, active: bool) -> VersionInfo:
    path = repository / ENSEMBLE_NAME / str(version) / REPORT_NAME
    report = read_report(path) if path.is_file() else ExportReport(version)  # an older export's has none
    return VersionInfo(
        version=version,
        active=active,
        engine=report.engine,
        precision=report.precision,
        accelerator=report.accelerator,
        weights=report.checkpoint.weights,
        checkpoint=report.checkpoint.source,
        export_sha256=report.export_sha256,
    )


def _configs(repository: Path, version: int) -> dict[str, pb.ModelConfig]:
    """Return the configs as they were exported, the ensemble's last."""
    folder = repository / ENSEMBLE_NAME / str(version) / CONFIGS_NAME
    names = _models_of(repository, version)
    missing = [name for name in names if not (folder / f"{name}.pbtxt").is_file()]
    if missing:
        raise RepositoryConflict(
            f"{repository}: version {version} does not keep its configs in {folder}; export it again"
        )
    return {name: config_from_text((folder / f"{name}.pbtxt").read_text()) for name in names}

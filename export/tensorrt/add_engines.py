"""Add engines for one more compute capability to the served version of a repository."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from tritonclient.grpc import model_config_pb2 as pb

from deepfake_triton.errors import EngineError
from deepfake_triton.export.repository.configs import config_from_text, config_text
from deepfake_triton.export.repository.layout import CONFIGS_NAME, ENSEMBLE_NAME, staging_folder
from deepfake_triton.export.repository.versions import active_version
from deepfake_triton.export.tensorrt.builder import EngineOptions, build_engine
from deepfake_triton.models.runtimes.tensorrt_library import TensorRT
from deepfake_triton.models.stages import MODEL_NAMES
from deepfake_triton.repository.engine_record import EngineRecord, engine_file_name, record_path
from deepfake_triton.repository.export_report import REPORT_NAME, read_report, report_text
from deepfake_triton.repository.files import CONFIG_NAME, ONNX_NAME, lock_folder, sha256_of_regular_file
from deepfake_triton.repository.integrity import file_hashes
from deepfake_triton.repository.record import read_intact_record, recorded_change


def models_without_engine(repository: Path, compute_capability: str) -> list[str]:
    """Return the models whose served version has no engine for a compute capability.

    Raises RepositoryConflict when the folder is no repository, EngineError when it is not for TensorRT.
    """
    active_version(repository)
    with _as_engine_errors(repository):
        return [
            name
            for name in MODEL_NAMES
            if compute_capability not in _config(repository, name).cc_model_filenames
        ]


def add_engines(
    repository: Path,
    models: Sequence[str],
    library: TensorRT,
    *,
    compute_capability: str,
    timing_cache: Path | None = None,
) -> list[EngineRecord]:
    """Build engines from the served version's graphs of `models`, and add them to its configs and report.

    The graphs are those that the export has checked. Raises RepositoryConflict when the folder is no
    repository, InvalidRepository when a file is not as recorded, EngineError when a graph is missing or
    cannot be built; then nothing was changed.
    """
    version = active_version(repository)
    with (
        _as_engine_errors(repository),
        lock_folder(repository),
        staging_folder(repository / ENSEMBLE_NAME) as stage,
    ):
        recorded = read_intact_record(repository)
        records = {
            name: build_engine(
                _graph(repository, name, version),
                _make_version_folder(stage, name, version) / engine_file_name(compute_capability),
                library,
                options=EngineOptions(compute_capability=compute_capability, timing_cache=timing_cache),
            )
            for name in models
        }
        paths: list[str] = []
        for name in models:
            paths += _stage_model(repository, name, version, capability=compute_capability, stage=stage)
        paths += _stage_reports(repository, version, records, stage=stage)
        staged = {path: {sha256_of_regular_file(stage / path)} for path in paths}
        with recorded_change(repository, recorded, staged):
            for path in paths:
                (stage / path).replace(repository / path)
    return list(records.values())


@contextmanager
def _as_engine_errors(repository: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise EngineError(f"{repository}: cannot take up engines: {error}") from error


def _config(repository: Path, name: str) -> pb.ModelConfig:
    config = config_from_text((repository / name / CONFIG_NAME).read_text())
    if config.backend != "tensorrt":
        raise EngineError(
            f"{repository}: its models are for the backend {config.backend}, expected tensorrt; `export "
            "--engine tensorrt` writes such a repository"
        )
    return config


def _graph(repository: Path, name: str, version: int) -> Path:
    path = repository / name / str(version) / ONNX_NAME
    if not path.is_file():
        raise EngineError(f"{path}: is missing, and engines are built from it; export the version again")
    return path


def _make_version_folder(stage: Path, name: str, version: int) -> Path:
    folder = stage / name / str(version)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _stage_model(repository: Path, name: str, version: int, *, capability: str, stage: Path) -> list[str]:
    """Stage the changed files of a model, and return their paths in the order in which they are put in place:
    the engine, then the configs that name it, so that a server that starts in between finds whole files."""
    engine = f"{name}/{version}/{engine_file_name(capability)}"
    kept = f"{ENSEMBLE_NAME}/{version}/{CONFIGS_NAME}/{name}.pbtxt"
    for path in (kept, f"{name}/{CONFIG_NAME}"):
        config = config_from_text((repository / path).read_text())
        config.cc_model_filenames[capability] = engine_file_name(capability)
        _stage(stage / path, config_text(config))
    record = record_path(stage / engine).relative_to(stage)
    return [engine, str(record), kept, f"{name}/{CONFIG_NAME}"]


def _stage_reports(
    repository: Path, version: int, records: Mapping[str, EngineRecord], *, stage: Path
) -> list[str]:
    kept = f"{ENSEMBLE_NAME}/{version}/{REPORT_NAME}"
    report = read_report(repository / kept)
    models = dict(report.models)
    for name, record in records.items():
        folders = (repository / name / str(version), stage / name / str(version))
        files = {path.name: path for folder in folders for path in folder.iterdir() if path.is_file()}
        engines = (*models[name].engines, record)
        models[name] = replace(models[name], engines=engines, files=file_hashes(files))
    for path in (kept, REPORT_NAME):
        _stage(stage / path, report_text(replace(report, models=models)))
    return [kept, REPORT_NAME]


def _stage(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)

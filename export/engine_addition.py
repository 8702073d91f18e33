"""Engines for one more kind of GPU, beside those that a version of a repository already has."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tritonclient.grpc import model_config_pb2 as pb

from deepfake_triton import contracts
from deepfake_triton.errors import EngineError
from deepfake_triton.export.configs import config_from_text, config_text
from deepfake_triton.export.engine_builder import EngineOptions, build_engine
from deepfake_triton.export.engine_record import EngineRecord, engine_name, record_path
from deepfake_triton.export.repository import CONFIG_NAME, CONFIGS_NAME, ONNX_NAME, staging
from deepfake_triton.export.tensorrt_library import TensorRT
from deepfake_triton.export.versions import active_version
from deepfake_triton.integrity import REPORT_NAME, file_hashes
from deepfake_triton.repository_files import locked, sha256_of
from deepfake_triton.repository_record import changing, intact_record

_MODELS = (contracts.face_detector(), contracts.feature_extractor(), contracts.sequence_classifier())
_ENSEMBLE = contracts.deepfake_detector().name


def models_without_engine(repository: Path, compute_capability: str) -> list[str]:
    """Those whose served version no engine fits. Raises RepositoryConflict when the folder is no repository,
    EngineError when it is not for TensorRT."""
    active_version(repository)
    with _typed_errors(repository):
        return [
            spec.name
            for spec in _MODELS
            if compute_capability not in _config(repository, spec.name).cc_model_filenames
        ]


def add_engines(
    repository: Path,
    models: Sequence[str],
    library: TensorRT,
    compute_capability: str,
    timing_cache: Path | None = None,
) -> list[EngineRecord]:
    """Compile the served version's graphs of `models` for such GPUs, and have its configs name the engines.

    They come from the very graphs that the export has proven. Raises RepositoryConflict when the folder is no
    repository, InvalidRepository when a file is not as recorded, EngineError when a graph is missing or
    cannot be built; then nothing was changed.
    """
    version = active_version(repository)
    with _typed_errors(repository), locked(repository), staging(repository / _ENSEMBLE) as stage:
        recorded = intact_record(repository)
        records = {
            name: build_engine(
                _graph(repository, name, version),
                _staged(stage, name, version) / engine_name(compute_capability),
                library,
                EngineOptions(compute_capability=compute_capability, timing_cache=timing_cache),
            )
            for name in models
        }
        paths: list[str] = []
        for name in models:
            paths += _write_model(repository, name, version, compute_capability, stage)
        paths += _write_reports(repository, version, records, stage)
        with changing(repository, recorded, {path: {sha256_of(stage / path)} for path in paths}):
            for path in paths:
                (stage / path).replace(repository / path)
    return list(records.values())


@contextmanager
def _typed_errors(repository: Path) -> Iterator[None]:
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


def _staged(stage: Path, name: str, version: int) -> Path:
    folder = stage / name / str(version)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _write_model(repository: Path, name: str, version: int, capability: str, stage: Path) -> list[str]:
    """Stage what changes for a model, and return the paths in the order in which they are put in place: the
    engine, then the configs that name it, so that what a server finds in between is whole."""
    engine = f"{name}/{version}/{engine_name(capability)}"
    kept = f"{_ENSEMBLE}/{version}/{CONFIGS_NAME}/{name}.pbtxt"
    for path in (kept, f"{name}/{CONFIG_NAME}"):
        config = config_from_text((repository / path).read_text())
        config.cc_model_filenames[capability] = engine_name(capability)
        _stage(stage / path, config_text(config))
    record = record_path(stage / engine).relative_to(stage)
    return [engine, str(record), kept, f"{name}/{CONFIG_NAME}"]


def _write_reports(
    repository: Path, version: int, records: Mapping[str, EngineRecord], stage: Path
) -> list[str]:
    kept = f"{_ENSEMBLE}/{version}/{REPORT_NAME}"
    report: dict[str, Any] = json.loads((repository / kept).read_text())
    for name, record in records.items():
        model = report["models"][name]
        model["engines"] = [*model["engines"], record.as_dict()]
        folders = (repository / name / str(version), stage / name / str(version))
        files = {path.name: path for folder in folders for path in folder.iterdir() if path.is_file()}
        model["files"] = file_hashes(files)
    for path in (kept, REPORT_NAME):
        _stage(stage / path, json.dumps(report, indent=2) + "\n")
    return [kept, REPORT_NAME]


def _stage(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)

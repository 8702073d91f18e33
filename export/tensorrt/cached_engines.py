"""The engines that a repository lacks for a GPU, from a cache; built into it where it lacks them, too."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import onnx
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

from deepfake_triton.errors import EngineError
from deepfake_triton.export.repository.configs import config_from_text, loaded_versions
from deepfake_triton.export.tensorrt.builder import (
    EngineOptions,
    build_engine,
    load_graph,
    target_capability,
)
from deepfake_triton.export.tensorrt.profiles import DYNAMIC, profiles_for
from deepfake_triton.files.hashing import sha256_of_file
from deepfake_triton.host.cuda import first_gpu
from deepfake_triton.models.graph_partition import precision_of
from deepfake_triton.models.runtimes.tensorrt_library import TensorRT
from deepfake_triton.repository.engine_cache import EngineCache, ModelEngine
from deepfake_triton.repository.engine_record import EngineBuilder, EngineKey, EngineRecord
from deepfake_triton.repository.files import CONFIG_NAME, ONNX_NAME, is_plain_name

_DEFAULT_FILE_NAME = "model.plan"
"""What Triton loads where a config names no file for the GPU's compute capability."""


@dataclass(frozen=True)
class LackingModel:
    """A version of a model for which a repository has no engine, and the file name that Triton looks for."""

    name: str
    version: int
    file_name: str


def lacking_models(repository: Path, compute_capability: str) -> list[LackingModel]:
    """Return the versions that a server loads and for which the repository has no engine.

    Only models for TensorRT count. Raises EngineError when a config cannot be read.
    """
    found = []
    for path in sorted(repository.glob(f"*/{CONFIG_NAME}")):
        config = _config(path)
        is_for_tensorrt = config.backend == "tensorrt" or config.platform == "tensorrt_plan"
        if not is_for_tensorrt or compute_capability in config.cc_model_filenames:
            continue
        file_name = config.default_model_filename or _DEFAULT_FILE_NAME
        if not is_plain_name(file_name):
            raise EngineError(
                f"{path}: default_model_filename: got {file_name!r}, expected a plain file name"
            )
        found += [
            LackingModel(path.parent.name, version, file_name)
            for version in loaded_versions(config) or _newest_version(path.parent)
            if not (path.parent / str(version) / file_name).exists()
        ]
    return found


def take_engines(
    repository: Path,
    models: list[LackingModel],
    cache: EngineCache,
    *,
    library: TensorRT,
    compute_capability: str | None,
    timing_cache: Path | None = None,
    on_build: Callable[[LackingModel, EngineKey], None],
) -> Iterator[tuple[ModelEngine, bool]]:
    """Yield the engine of each model, and whether it was built just now; `on_build` is called before a build.

    Raises EngineError when a graph is missing or cannot be built, or the cache cannot be written.
    """
    capability = target_capability(library, compute_capability)
    gpu = None if library.targets else first_gpu()
    options = EngineOptions(compute_capability=capability, timing_cache=timing_cache)
    for model in models:
        graph = repository / model.name / str(model.version) / ONNX_NAME
        key = engine_key(graph, library, capability, gpu=gpu.name if gpu else None)

        def build(output: Path, *, model: LackingModel = model, key: EngineKey = key) -> EngineRecord:
            on_build(model, key)
            source = repository / model.name / str(model.version) / ONNX_NAME
            return build_engine(source, output, library, options=options)

        engine = cache.get_or_build(key, build)
        taken = ModelEngine(model.name, model.version, model.file_name, engine.path, engine.sha256)
        yield taken, engine.is_new


def engine_key(graph: Path, library: TensorRT, compute_capability: str, *, gpu: str | None) -> EngineKey:
    """Return what decides the engine of a graph that `add_engines` builds. Raises EngineError when there is
    no such graph, or its inputs have no profiles."""
    if not graph.is_file():
        raise EngineError(f"{graph}: is missing, and engines are built from it; export the version again")
    model = load_graph(graph)
    weights = {weight.name for weight in model.graph.initializer}
    inputs = {tensor.name: _shape(tensor) for tensor in model.graph.input if tensor.name not in weights}
    return EngineKey(
        onnx_sha256=sha256_of_file(graph),
        precision=precision_of(model),
        profiles=profiles_for(inputs, {}),
        compute_capability=compute_capability,
        gpu=gpu,
        builder=EngineBuilder(library.name, library.version),
    )


def _shape(tensor: onnx.ValueInfoProto) -> tuple[int, ...]:
    sizes = tensor.type.tensor_type.shape.dim
    return tuple(size.dim_value if size.HasField("dim_value") else DYNAMIC for size in sizes)


def _config(path: Path) -> pb.ModelConfig:
    try:
        return config_from_text(path.read_text())
    except (OSError, ValueError, text_format.ParseError) as error:
        raise EngineError(f"{path}: cannot be read as a config: {error}") from error


def _newest_version(folder: Path) -> list[int]:
    """Return the version that Triton loads where a config names none."""
    versions = [int(path.name) for path in folder.iterdir() if path.is_dir() and path.name.isdecimal()]
    return [max(versions)] if versions else []

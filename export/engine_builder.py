"""An ONNX file to a TensorRT engine, written once for TensorRT and TensorRT-RTX."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import onnx
from google.protobuf.message import DecodeError

from deepfake_triton.errors import EngineError
from deepfake_triton.export.engine_record import EngineRecord, EngineTensor, record_path
from deepfake_triton.export.graph_parts import precision_of
from deepfake_triton.export.half_precision import half_precision
from deepfake_triton.export.shape_profiles import ShapeProfile, profiles_for
from deepfake_triton.export.tensorrt_library import TensorRT, gpu_compute_capability

EnginePrecision = Literal["fp32", "fp16"]
_DTYPES = {"FLOAT": "float32", "HALF": "float16"}


@dataclass(frozen=True)
class EngineOptions:
    """How to build; `compute_capability` None is that of the GPU at hand, `timing_cache` a file that keeps
    what TensorRT measured (TensorRT-RTX measures nothing)."""

    precision: EnginePrecision = "fp32"
    compute_capability: str | None = None
    profiles: Mapping[str, ShapeProfile] = field(default_factory=dict)
    timing_cache: Path | None = None


def build_engine(graph: Path, output: Path, library: TensorRT, options: EngineOptions) -> EngineRecord:
    """Write the engine of an ONNX file, and its record beside it.

    Raises EngineError, with the node and its operator where the parser refuses one; then nothing is written.
    """
    trt = library.module
    capability = capability_for(library, options.compute_capability)
    model = _loaded(graph)
    logger = _logger(trt)
    builder = trt.Builder(logger)
    network, _parser = _parsed(model, graph, builder, trt, logger)
    if options.precision == "fp16":  # only of a graph that the parser knows
        model = half_precision(model)
        network, _parser = _parsed(model, graph, builder, trt, logger)
    inputs = tuple(_tensor(network.get_input(i)) for i in range(network.num_inputs))
    outputs = tuple(_tensor(network.get_output(i)) for i in range(network.num_outputs))
    profiles = profiles_for({tensor.name: tensor.shape for tensor in inputs}, options.profiles)
    config = builder.create_builder_config()
    if library.targets:
        config.num_compute_capabilities = 1
        config.set_compute_capability(library.target(capability), 0)
    if profiles:
        config.add_optimization_profile(_profile(builder, profiles))
    cache = None if library.targets else options.timing_cache
    if cache:
        config.set_timing_cache(config.create_timing_cache(_read_cache(cache)), False)
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise EngineError(f"{graph}: {library.name} could not build it: {logger.first_error()}")
    content = bytes(engine)
    record = EngineRecord(
        inputs=inputs,
        outputs=outputs,
        profiles=profiles,
        precision=precision_of(model),
        compute_capability=capability,
        builder={"name": library.name, "version": library.version},
        onnx_sha256=hashlib.sha256(graph.read_bytes()).hexdigest(),
        sha256=hashlib.sha256(content).hexdigest(),
    )
    _write(output, content, record)
    if cache:
        _write_cache(cache, bytes(config.get_timing_cache().serialize()))
    return record


def deserialised(engine: Path, library: TensorRT) -> dict[str, Any]:
    """What the engine says of itself; its GPU has to be here. Raises EngineError."""
    trt = library.module
    logger = _logger(trt)
    loaded = trt.Runtime(logger).deserialize_cuda_engine(engine.read_bytes())
    if loaded is None:
        raise EngineError(f"{engine}: cannot be loaded on this GPU: {logger.first_error()}")
    names = [loaded.get_tensor_name(index) for index in range(loaded.num_io_tensors)]
    tensors = {
        name: {
            "name": name,
            "dtype": _dtype(loaded.get_tensor_dtype(name)),
            "shape": list(loaded.get_tensor_shape(name)),
        }
        for name in names
    }
    modes = {name: loaded.get_tensor_mode(name) for name in names}
    return {
        "inputs": [tensors[name] for name in names if modes[name] == trt.TensorIOMode.INPUT],
        "outputs": [tensors[name] for name in names if modes[name] == trt.TensorIOMode.OUTPUT],
    }


def capability_for(library: TensorRT, wanted: str | None) -> str:
    """What to build for: the `wanted` compute capability, or that of the GPU at hand. Raises EngineError when
    the library does not build for it."""
    own = None if library.targets and wanted else gpu_compute_capability()
    if not library.targets and wanted not in (None, own):
        raise EngineError(
            f"--compute-capability: got {wanted}, but TensorRT builds for the GPU that it runs on "
            f"({own or 'there is none'}); run this on a GPU of that kind, or use --builder tensorrt-rtx"
        )
    capability = wanted or own
    if capability is None:
        raise EngineError(
            "no GPU here to build for; say --compute-capability "
            f"({', '.join(library.targets) or 'with --builder tensorrt-rtx'})"
        )
    if library.targets:
        library.target(capability)
    return capability


def _loaded(graph: Path) -> onnx.ModelProto:
    try:
        model = onnx.load(graph)
    except (OSError, DecodeError) as error:
        raise EngineError(f"{graph}: cannot be read as ONNX: {error}") from error
    if not model.graph.node:
        raise EngineError(f"{graph}: holds no graph")
    return model


def _parsed(model: onnx.ModelProto, graph: Path, builder: Any, trt: Any, logger: Any) -> tuple[Any, Any]:
    """The network, and the parser that owns its weights."""
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(model.SerializeToString()):
        raise EngineError(f"{graph}: {_refusal(model, parser)}")
    return network, parser


def _read_cache(path: Path) -> bytes:
    try:
        return path.read_bytes() if path.is_file() else b""
    except OSError as error:
        raise EngineError(f"--timing-cache {path}: cannot be read: {error.strerror}") from error


def _write_cache(path: Path, content: bytes) -> None:
    try:
        path.write_bytes(content)
    except OSError as error:
        raise EngineError(f"--timing-cache {path}: cannot be written: {error.strerror}") from error


def _refusal(model: onnx.ModelProto, parser: Any) -> str:
    """What the parser did not like, on one line."""
    error = parser.get_error(0)
    nodes = model.graph.node
    node = nodes[error.node()] if 0 <= error.node() < len(nodes) else None
    name = error.node_name() or (node.name or ", ".join(node.output) if node else "")
    operator = error.node_operator() or (node.op_type if node else "")
    place = f"node {name or '(unnamed)'} ({operator})" if operator or name else "the graph"
    return f"{place} was refused: {' '.join(error.desc().split())}"


def _profile(builder: Any, profiles: Mapping[str, ShapeProfile]) -> Any:
    together = builder.create_optimization_profile()
    for name, each in profiles.items():
        together.set_shape(name, each.min, each.opt, each.max)
    return together


def _tensor(tensor: Any) -> EngineTensor:
    return EngineTensor(str(tensor.name), _dtype(tensor.dtype), tuple(tensor.shape))


def _dtype(dtype: Any) -> str:
    return _DTYPES.get(dtype.name, str(dtype.name).lower())


def _write(output: Path, content: bytes, record: EngineRecord) -> None:
    """The record last: an engine without one is known to be unfinished."""
    path = record_path(output)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        partial = output.with_name(f".{output.name}.partial")
        partial.write_bytes(content)
        partial.replace(output)
        path.write_text(json.dumps(record.as_dict(), indent=2) + "\n")
    except OSError as error:
        raise EngineError(f"{output}: cannot be written: {error.strerror}") from error


def _logger(trt: Any) -> Any:
    """Keeps what the library calls an error; it would write warnings by the hundred."""

    class Kept(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR):
                self.errors.append(" ".join(message.split()))

        def first_error(self) -> str:
            return self.errors[0] if self.errors else "it gave no reason"

    return Kept()

"""Build a TensorRT engine from an ONNX file, with TensorRT or TensorRT-RTX."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import onnx
from google.protobuf.message import DecodeError

from deepfake_triton.console.progress import stage
from deepfake_triton.errors import EngineError
from deepfake_triton.export.tensorrt.profiles import profiles_for
from deepfake_triton.files.atomic import atomic_write
from deepfake_triton.files.hashing import sha256_of_file
from deepfake_triton.models.fp16 import convert_to_fp16
from deepfake_triton.models.graph_partition import precision_of
from deepfake_triton.models.runtimes.tensorrt_library import TensorRT, gpu_compute_capability
from deepfake_triton.repository.engine_record import (
    EngineBuilder,
    EngineRecord,
    EngineTensor,
    EngineTensors,
    ShapeProfile,
    record_path,
    write_engine_record,
)

EnginePrecision = Literal["fp32", "fp16"]
_DTYPES = {"FLOAT": "float32", "HALF": "float16"}


@dataclass(frozen=True)
class EngineOptions:
    """The options of one engine build; a `compute_capability` of None is the local GPU's, `timing_cache` a
    file that keeps TensorRT's kernel timings (TensorRT-RTX measures none)."""

    precision: EnginePrecision = "fp32"
    compute_capability: str | None = None
    profiles: Mapping[str, ShapeProfile] = field(default_factory=dict)
    timing_cache: Path | None = None


def build_engine(graph: Path, output: Path, library: TensorRT, *, options: EngineOptions) -> EngineRecord:
    """Write the engine of an ONNX file, and its record beside it.

    Raises EngineError, with the node and its operator where the parser refuses one; then nothing is written.
    """
    trt = library.module
    capability = target_capability(library, options.compute_capability)
    model = load_graph(graph)
    logger = _logger(trt)
    builder = trt.Builder(logger)
    network, _parser = _parse(model, graph, builder=builder, trt=trt, logger=logger)
    if options.precision == "fp16":  # only of a graph that the parser knows
        model = convert_to_fp16(model)
        network, _parser = _parse(model, graph, builder=builder, trt=trt, logger=logger)
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
    with stage(f"compiling {graph.name}"):
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
        builder=EngineBuilder(library.name, library.version),
        onnx_sha256=sha256_of_file(graph),
        sha256=hashlib.sha256(content).hexdigest(),
    )
    _write(output, content, record)
    if cache:
        _write_cache(cache, bytes(config.get_timing_cache().serialize()))
    return record


def deserialize_engine(engine: Path, library: TensorRT) -> EngineTensors:
    """Return the tensors of an engine as it reports them on its own GPU. Raises EngineError."""
    trt = library.module
    logger = _logger(trt)
    loaded = trt.Runtime(logger).deserialize_cuda_engine(engine.read_bytes())
    if loaded is None:
        raise EngineError(f"{engine}: cannot be loaded on this GPU: {logger.first_error()}")
    names = [loaded.get_tensor_name(index) for index in range(loaded.num_io_tensors)]

    def of_mode(mode: Any) -> tuple[EngineTensor, ...]:
        return tuple(
            EngineTensor(name, _dtype(loaded.get_tensor_dtype(name)), tuple(loaded.get_tensor_shape(name)))
            for name in names
            if loaded.get_tensor_mode(name) == mode
        )

    return EngineTensors(of_mode(trt.TensorIOMode.INPUT), of_mode(trt.TensorIOMode.OUTPUT))


def target_capability(library: TensorRT, wanted: str | None) -> str:
    """Return the `wanted` compute capability, or the local GPU's. Raises EngineError when the library does
    not build for it."""
    own = None if library.targets and wanted else gpu_compute_capability()
    if not library.targets and wanted not in (None, own):
        raise EngineError(
            f"--compute-capability: got {wanted}, but TensorRT builds for the GPU that it runs on "
            f"({own or 'there is none'}); run this on a GPU of that kind, or use --builder tensorrt-rtx"
        )
    capability = wanted or own
    if capability is None:
        raise EngineError(
            "no GPU here to build for; pass --compute-capability "
            f"({', '.join(library.targets) or 'with --builder tensorrt-rtx'})"
        )
    if library.targets:
        library.target(capability)
    return capability


def load_graph(graph: Path) -> onnx.ModelProto:
    """Read an ONNX file. Raises EngineError when it is none."""
    try:
        model = onnx.load(graph)
    except (OSError, DecodeError) as error:
        raise EngineError(f"{graph}: cannot be read as ONNX: {error}") from error
    if not model.graph.node:
        raise EngineError(f"{graph}: holds no graph")
    return model


def _parse(model: onnx.ModelProto, graph: Path, *, builder: Any, trt: Any, logger: Any) -> tuple[Any, Any]:
    """Return the network, and the parser that owns its weights."""
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
    """Return the parser's first error as one line."""
    error = parser.get_error(0)
    nodes = model.graph.node
    node = nodes[error.node()] if 0 <= error.node() < len(nodes) else None
    name = error.node_name() or (node.name or ", ".join(node.output) if node else "")
    operator = error.node_operator() or (node.op_type if node else "")
    place = f"node {name or '(unnamed)'} ({operator})" if operator or name else "the graph"
    return f"{place} was refused: {' '.join(error.desc().split())}"


def _profile(builder: Any, profiles: Mapping[str, ShapeProfile]) -> Any:
    combined = builder.create_optimization_profile()
    for name, profile in profiles.items():
        combined.set_shape(name, profile.min, profile.opt, profile.max)
    return combined


def _tensor(tensor: Any) -> EngineTensor:
    return EngineTensor(str(tensor.name), _dtype(tensor.dtype), tuple(tensor.shape))


def _dtype(dtype: Any) -> str:
    return _DTYPES.get(dtype.name, str(dtype.name).lower())


def _write(output: Path, content: bytes, record: EngineRecord) -> None:
    """Write the engine, then its record: an engine without one is unfinished."""
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        record_path(output).unlink(missing_ok=True)
        with atomic_write(output) as partial:
            partial.write_bytes(content)
        write_engine_record(output, record)
    except OSError as error:
        raise EngineError(f"{output}: cannot be written: {error.strerror}") from error


def _logger(trt: Any) -> Any:
    """Return a logger that keeps errors and drops warnings, which come by the hundred."""

    class ErrorLog(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR):
                self.errors.append(" ".join(message.split()))

        def first_error(self) -> str:
            return self.errors[0] if self.errors else "it gave no reason"

    return ErrorLog()

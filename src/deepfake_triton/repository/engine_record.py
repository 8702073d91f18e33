"""The build record of a TensorRT engine, in a file beside it: an engine cannot be read without its GPU."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from deepfake_triton.contracts import BuilderName
from deepfake_triton.errors import EngineError
from deepfake_triton.files.hashing import sha256_of_file
from deepfake_triton.json_object import JsonObject

SOURCE = "build record"
Shape = tuple[int, ...]


@dataclass(frozen=True)
class EngineTensor:
    """An input or output of an engine; `shape` has -1 where a size is dynamic, `dtype` is numpy's name."""

    name: str
    dtype: str
    shape: Shape


@dataclass(frozen=True)
class EngineTensors:
    """The inputs and outputs of an engine as it reports them on its own GPU."""

    inputs: tuple[EngineTensor, ...]
    outputs: tuple[EngineTensor, ...]

    def to_json(self) -> JsonObject:
        """Return the tensors as JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class ShapeProfile:
    """An optimization profile: the engine takes every shape between `min` and `max`, and is fastest at
    `opt`."""

    min: Shape
    opt: Shape
    max: Shape


@dataclass(frozen=True)
class EngineBuilder:
    """The library that built an engine, and its version."""

    name: BuilderName
    version: str


@dataclass(frozen=True)
class EngineRecord:
    """The tensors, profiles and precision (fp32, fp16 or int8) of an engine as its network and builder
    config had them, with the SHA-256 of the ONNX graph and of the engine itself."""

    inputs: tuple[EngineTensor, ...]
    outputs: tuple[EngineTensor, ...]
    profiles: Mapping[str, ShapeProfile]
    precision: str
    compute_capability: str
    builder: EngineBuilder
    onnx_sha256: str
    sha256: str

    def to_json(self) -> JsonObject:
        """Return the record as JSON values, with the `source` that tells it from a deserialized engine."""
        return {"source": SOURCE, **asdict(self)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> EngineRecord:
        """Read a record. Raises KeyError, TypeError or ValueError when it is none."""
        return cls(
            inputs=tuple(_tensor(tensor) for tensor in values["inputs"]),
            outputs=tuple(_tensor(tensor) for tensor in values["outputs"]),
            profiles={name: _profile(profile) for name, profile in values["profiles"].items()},
            precision=values["precision"],
            compute_capability=values["compute_capability"],
            builder=EngineBuilder(values["builder"]["name"], values["builder"]["version"]),
            onnx_sha256=values["onnx_sha256"],
            sha256=values["sha256"],
        )


@dataclass(frozen=True)
class EngineKey:
    """All that decides what an engine is: its ONNX graph, the options of its build, the GPU, and the builder.

    `gpu` is the name of the GPU whose kernels were timed; None for a builder that times none.
    """

    onnx_sha256: str
    precision: str
    profiles: Mapping[str, ShapeProfile]
    compute_capability: str
    gpu: str | None
    builder: EngineBuilder

    def to_json(self) -> JsonObject:
        """Return the key as JSON values, as they are read back."""
        values: JsonObject = json.loads(json.dumps(asdict(self)))
        return values

    @property
    def digest(self) -> str:
        """The key in 32 characters, for a file's name."""
        return hashlib.sha256(json.dumps(self.to_json(), sort_keys=True).encode()).hexdigest()[:32]

    def is_of(self, record: EngineRecord) -> bool:
        """Return whether an engine with this record can have been built for the key."""
        return (record.onnx_sha256, record.compute_capability, record.builder) == (
            self.onnx_sha256,
            self.compute_capability,
            self.builder,
        )


def engine_file_name(compute_capability: str) -> str:
    """Return the file name of the engine for a compute capability, in a version's folder."""
    return f"model_sm{compute_capability.replace('.', '')}.plan"


def record_path(engine: Path) -> Path:
    """Return the path of an engine's build record."""
    return engine.with_name(f"{engine.name}.json")


def write_engine_record(engine: Path, record: EngineRecord) -> None:
    """Write the build record beside an engine. Raises OSError."""
    record_path(engine).write_text(json.dumps(record.to_json(), indent=2) + "\n")


def read_engine_record(engine: Path) -> EngineRecord:
    """Read the build record of an engine. Raises EngineError without one, or when the engine is not the one
    that was built."""
    path = record_path(engine)
    try:
        digest = sha256_of_file(engine)
        record = EngineRecord.from_json(json.loads(path.read_text()))
    except OSError as error:
        raise EngineError(
            f"{error.filename}: cannot be read: {error.strerror}; `engine build` writes both"
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise EngineError(f"{path}: no build record: {error!r}; build the engine again") from error
    if record.sha256 != digest:
        raise EngineError(
            f"{engine}: sha256 {digest[:12]}, but {path.name} is of {record.sha256[:12]}: the engine changed "
            "after it was built; build it again"
        )
    return record


def _tensor(values: Mapping[str, Any]) -> EngineTensor:
    return EngineTensor(values["name"], values["dtype"], tuple(values["shape"]))


def _profile(values: Mapping[str, Any]) -> ShapeProfile:
    return ShapeProfile(*(tuple(values[name]) for name in ("min", "opt", "max")))

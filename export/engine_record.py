"""What is known of an engine, in `ENGINE.json` beside it: an engine cannot be read without its GPU."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from deepfake_triton.errors import EngineError
from deepfake_triton.export.shape_profiles import ShapeProfile

SOURCE = "build record"


@dataclass(frozen=True)
class EngineTensor:
    """`shape` has -1 where the size is free, as the parsed network says; `dtype` is numpy's word."""

    name: str
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class EngineRecord:
    """What the network and the builder's config said when the engine of that `sha256` was built.

    `precision` is fp32, fp16 or int8; `builder` holds the library's `name` and `version`, and
    `onnx_sha256` is the graph's.
    """

    inputs: tuple[EngineTensor, ...]
    outputs: tuple[EngineTensor, ...]
    profiles: Mapping[str, ShapeProfile]
    precision: str
    compute_capability: str
    builder: Mapping[str, str]
    onnx_sha256: str
    sha256: str

    def as_dict(self) -> dict[str, Any]:
        """For JSON, with where it comes from."""
        return {"source": SOURCE, **asdict(self)}


def engine_name(compute_capability: str) -> str:
    """Of the engine for such GPUs, in a version's folder."""
    return f"model_sm{compute_capability.replace('.', '')}.plan"


def record_path(engine: Path) -> Path:
    """Where an engine's record stands."""
    return engine.with_name(f"{engine.name}.json")


def record_of(engine: Path) -> EngineRecord:
    """Read it. Raises EngineError without one, or when the engine is not the one that was built."""
    path = record_path(engine)
    try:
        digest = hashlib.sha256(engine.read_bytes()).hexdigest()
        values = json.loads(path.read_text())
        record = EngineRecord(
            inputs=tuple(_tensor(each) for each in values["inputs"]),
            outputs=tuple(_tensor(each) for each in values["outputs"]),
            profiles={name: _profile(each) for name, each in values["profiles"].items()},
            **{name: values[name] for name in ("precision", "compute_capability", "builder")},
            **{name: values[name] for name in ("onnx_sha256", "sha256")},
        )
    except OSError as error:
        raise EngineError(
            f"{error.filename}: cannot be read: {error.strerror}; `engine build` writes both"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
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

"""Engines of random bytes, for a cache of engines, and programs that use one."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

from deepfake_triton.repository.engine_cache import CachedEngine
from deepfake_triton.repository.engine_record import (
    EngineBuilder,
    EngineKey,
    EngineRecord,
    EngineTensor,
    ShapeProfile,
)

KEY = EngineKey(
    onnx_sha256="ab" * 32,
    precision="fp16",
    profiles={"x": ShapeProfile((1, 4), (2, 4), (8, 4))},
    compute_capability="8.9",
    gpu="NVIDIA L4",
    builder=EngineBuilder("tensorrt", "10.14.1"),
)
DAY_S = 86400
CACHE_IMPORTS = """
import sys, time
from dataclasses import replace
from pathlib import Path
from deepfake_triton.errors import EngineError
from deepfake_triton.repository.engine_cache import EngineCache
from deepfake_triton.repository.engine_record import EngineBuilder, EngineKey, ShapeProfile
"""


class Writer:
    """Writes engines of random bytes, with a record that tells the truth about them, and counts them."""

    def __init__(self, key: EngineKey = KEY, seconds: float = 0) -> None:
        self.key, self.seconds, self.count = key, seconds, 0

    def __call__(self, output: Path) -> EngineRecord:
        self.count += 1
        time.sleep(self.seconds)
        content = os.urandom(4096)
        output.write_bytes(content)
        return EngineRecord(
            inputs=(EngineTensor("x", "float32", (-1, 4)),),
            outputs=(EngineTensor("y", "float32", (-1, 4)),),
            profiles=self.key.profiles,
            precision=self.key.precision,
            compute_capability=self.key.compute_capability,
            builder=self.key.builder,
            onnx_sha256=self.key.onnx_sha256,
            sha256=hashlib.sha256(content).hexdigest(),
        )


def digest(engine: CachedEngine) -> str:
    return hashlib.sha256(engine.path.read_bytes()).hexdigest()


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if not path.name.endswith(".lock")}

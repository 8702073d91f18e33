"""One served network: its ONNX file, the engines built from it, and what the report says of both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from deepfake_triton.export.options import PrecisionName
from deepfake_triton.models.runtimes.onnx_runner import Provider
from deepfake_triton.repository.engine_record import EngineRecord, engine_file_name, record_path
from deepfake_triton.repository.files import ONNX_NAME
from deepfake_triton.repository.integrity import file_hashes
from deepfake_triton.repository.report_sections import ModelReport, QuantizationReport

_ALL_ENGINES = ("onnxruntime", "openvino", "tensorrt")


@dataclass(frozen=True)
class BuiltEngine:
    """A TensorRT engine's file, with its build record beside it."""

    path: Path
    record: EngineRecord


@dataclass(frozen=True)
class ServedGraph:
    """One network as it is served: its ONNX file, what that computes in, what can run it, and by which
    `provider` ONNX Runtime does.

    A graph `mixes_batch` when its rounding depends on the other rows of a batch. Of its provenance the report
    tells the `quantization`, and in `median_ms` the latency of the candidates that it was chosen from.
    """

    onnx: Path
    precision: PrecisionName
    runs_on: tuple[str, ...] = _ALL_ENGINES
    provider: Provider = "cpu"
    mixes_batch: bool = False
    quantization: QuantizationReport | None = None
    median_ms: Mapping[str, float] | None = None
    engines: tuple[BuiltEngine, ...] = ()

    @property
    def engine_files(self) -> dict[str, str]:
        """File names of the engines in the version's folder, by compute capability."""
        capabilities = [engine.record.compute_capability for engine in self.engines]
        return {capability: engine_file_name(capability) for capability in capabilities}

    @property
    def files(self) -> dict[str, Path]:
        """The files of the version's folder, by name; engines for other GPUs are built from the ONNX file."""
        files = {ONNX_NAME: self.onnx}
        for engine in self.engines:
            name = engine_file_name(engine.record.compute_capability)
            files[name] = engine.path
            files[record_path(Path(name)).name] = record_path(engine.path)
        return files

    def report(self) -> ModelReport:
        """Return the section of the export's report."""
        return ModelReport(
            precision=self.precision,
            runs_on=(self.engines[0].record.builder.name,) if self.engines else self.runs_on,
            files=file_hashes(self.files),
            quantization=self.quantization,
            median_ms=self.median_ms,
            engines=tuple(engine.record for engine in self.engines),
        )

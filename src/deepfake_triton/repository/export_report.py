"""The report of an export, `export_report.json`: which weights became which files, and how that was checked.

Its keys are a format that other releases read: a field may be added with a default, and none renamed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from deepfake_triton.errors import InvalidRepository
from deepfake_triton.json_object import JsonObject
from deepfake_triton.repository.report_sections import (
    UNKNOWN,
    CalibrationReport,
    CandidateReport,
    CheckpointReport,
    DetectorReport,
    GateReport,
    ModelReport,
    OnnxReport,
    ParityReport,
    QueueReport,
    section_from_json,
)

REPORT_NAME = "export_report.json"
SCHEMA_VERSION = 1


@dataclass(frozen=True)
class ExportReport:
    """The report of one version of a model repository.

    `engine` is onnx or tensorrt, `precision` fp32, bf16, fp16 or int8, `accelerator` openvino or None, and
    `weight_bits` those of the weights; `calibration` is of INT8. `fallback_parity` is of BF16's graphs in
    FP32, as NVIDIA's backend computes them; `tried` are the candidates of `--precision auto`, the fastest
    first. Fields that earlier releases did not write have defaults.
    """

    version: int
    export_sha256: str = ""
    checkpoint: CheckpointReport = field(default_factory=CheckpointReport)
    detector: DetectorReport = field(default_factory=DetectorReport)
    engine: str = UNKNOWN
    precision: str = UNKNOWN
    accelerator: str | None = None
    weight_bits: int | None = None
    calibration: CalibrationReport | None = None
    models: Mapping[str, ModelReport] = field(default_factory=dict)
    onnx: OnnxReport = field(default_factory=OnnxReport)
    parity: ParityReport = field(default_factory=ParityReport)
    fallback_parity: ParityReport | None = None
    tried: tuple[CandidateReport, ...] = ()
    gate: GateReport | None = None
    queue: QueueReport | None = None
    versions: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> JsonObject:
        """Return the report as JSON values."""
        return {
            "schema_version": SCHEMA_VERSION,
            "version": self.version,
            "export_sha256": self.export_sha256,
            "checkpoint": self.checkpoint.to_json(),
            "detector": asdict(self.detector),
            "engine": self.engine,
            "precision": self.precision,
            "accelerator": self.accelerator,
            "weight_bits": self.weight_bits,
            "calibration": self.calibration and asdict(self.calibration),
            "models": {name: model.to_json() for name, model in self.models.items()},
            "onnx": asdict(self.onnx),
            "parity": asdict(self.parity),
            "fallback_parity": self.fallback_parity and asdict(self.fallback_parity),
            "tried": [asdict(candidate) for candidate in self.tried],
            "gate": self.gate and asdict(self.gate),
            "queue": self.queue and self.queue.to_json(),
            "versions": dict(self.versions),
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> ExportReport:
        """Read a report, also one of an earlier release. Raises KeyError, TypeError or ValueError when it is
        none, or is written in a later schema."""
        schema = values.get("schema_version", SCHEMA_VERSION)
        if schema > SCHEMA_VERSION:
            raise ValueError(f"schema_version {schema}, this deepfake-triton reads {SCHEMA_VERSION}")
        accelerator = values.get("accelerator")
        calibration, gate, queue = (values.get(name) for name in ("calibration", "gate", "queue"))
        fallback = values.get("fallback_parity")
        return section_from_json(
            cls,
            values,
            export_sha256=str(values.get("export_sha256", "")),
            checkpoint=CheckpointReport.from_json(values.get("checkpoint", {})),
            detector=section_from_json(DetectorReport, values.get("detector", {})),
            accelerator=None if accelerator == "none" else accelerator,
            calibration=calibration and section_from_json(CalibrationReport, calibration),
            models={name: ModelReport.from_json(model) for name, model in values.get("models", {}).items()},
            onnx=section_from_json(OnnxReport, values.get("onnx", {})),
            parity=ParityReport.from_json(values.get("parity", {})),
            fallback_parity=fallback and ParityReport.from_json(fallback),
            tried=tuple(section_from_json(CandidateReport, each) for each in values.get("tried", ())),
            gate=gate and section_from_json(GateReport, gate),
            queue=queue and QueueReport.from_json(queue),
        )


def read_report(path: Path) -> ExportReport:
    """Read a report. Raises InvalidRepository when it cannot be read, or is none."""
    try:
        return ExportReport.from_json(json.loads(path.read_text()))
    except OSError as error:
        raise InvalidRepository(f"{error.filename}: cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InvalidRepository(f"{path}: is no report of an export: {error!r}") from error


def report_text(report: ExportReport) -> str:
    """Return the text of a report's file."""
    return json.dumps(report.to_json(), indent=2) + "\n"

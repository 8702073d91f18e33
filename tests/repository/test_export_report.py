"""The report of an export: what is written is read again, and so is what earlier releases wrote."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from deepfake_triton.errors import InvalidRepository
from deepfake_triton.repository.engine_record import (
    EngineBuilder,
    EngineRecord,
    EngineTensor,
    ShapeProfile,
)
from deepfake_triton.repository.export_report import ExportReport, read_report, report_text
from deepfake_triton.repository.report_sections import (
    CalibrationReport,
    CheckpointReport,
    DetectorReport,
    GateReport,
    ModelReport,
    OnnxReport,
    ParityCase,
    ParityLimits,
    ParityReport,
    QuantizationReport,
    QueueReport,
)

pytestmark = pytest.mark.fast

ENGINE = EngineRecord(
    inputs=(EngineTensor("features", "float32", (-1, -1, 8)),),
    outputs=(EngineTensor("logits", "float32", (-1, 2)),),
    profiles={"features": ShapeProfile((1, 1, 8), (2, 20, 8), (4, 64, 8))},
    precision="int8",
    compute_capability="8.9",
    builder=EngineBuilder("tensorrt-rtx", "1.2"),
    onnx_sha256="01",
    sha256="02",
)
REPORT = ExportReport(
    version=3,
    export_sha256="ab",
    checkpoint=CheckpointReport(
        "c.pt", "cd", "published", "custom", {"mean": (0.1, 0.2, 0.3), "crop_side": 112}
    ),
    detector=DetectorReport("centerface", 320),
    engine="onnx",
    precision="int8",
    accelerator="openvino",
    weight_bits=7,
    calibration=CalibrationReport(bundled=True, faces=40, unused=1),
    models={
        "feature_extractor": ModelReport(
            precision="int8",
            runs_on=("onnxruntime", "tensorrt"),
            files={"model.onnx": "ef"},
            quantization=QuantizationReport({"layer1": 0.5, "layer2": 0.1}, ("layer1",), 0.01, 0.015),
            engines=(ENGINE,),
        ),
        "sequence_classifier": ModelReport(
            "fp32", ("onnxruntime",), {"model.onnx": "12"}, median_ms={"fp32, cpu": 1.5}
        ),
    },
    onnx=OnnxReport(17, 8, {"feature_extractor": "ef"}),
    parity=ParityReport(
        precision="int8",
        crops="40 faces from clip.mp4",
        num_crops=40,
        logit_spread=2.5,
        cases=(ParityCase(1, 5, 0.1, 0.02, worst_crop=3), ParityCase(2, 5, 0.1, 0.03)),
        detection_difference=0.01,
        detector_batch_difference_px=0.02,
        limits=ParityLimits(None, 0.1, 0.05, 0.1, 0.01),
        runtimes={"reference": "torch 2"},
    ),
    gate=GateReport("m.csv", 20, 1, 0.5, 0.9, 0.89, 0.0, 0.01, "w.mp4", 0.02),
    queue=QueueReport(max_queue=21, clip_ms=200.5),
    versions={"torch": "2"},
)


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "export_report.json"
    for report in (REPORT, replace(REPORT, calibration=None, gate=None, queue=QueueReport(64))):
        path.write_text(report_text(report))
        assert read_report(path) == report
    assert REPORT.parity.max_probability_difference == 0.03


def test_the_keys_are_those_of_every_release() -> None:
    values = json.loads(report_text(REPORT))
    assert values["schema_version"] == 1
    assert values["checkpoint"]["facts"] == {"mean": [0.1, 0.2, 0.3], "crop_side": 112}
    assert values["calibration"] == {"bundled": True, "faces": 40, "unused": 1}
    assert values["queue"] == {"clip_ms": 200.5, "max_queue_size": 21}
    assert list(values["parity"]["limits"]) == [
        *("logit", "probability", "detection", "detector_batch_px", "batch_probability")
    ]
    extractor, classifier = values["models"].values()
    assert list(extractor) == ["precision", "runs_on", "files", "quantisation", "engines"]
    assert extractor["quantisation"]["kept_in_fp32"] == ["layer1"]
    assert extractor["engines"][0]["source"] == "build record"
    assert list(classifier) == ["precision", "runs_on", "files", "median_ms"]


def test_a_report_of_an_earlier_release_is_read() -> None:
    values: dict[str, Any] = json.loads(report_text(REPORT))
    del values["schema_version"]
    assert ExportReport.from_json(values) == REPORT
    for name in ("weight_bits", "calibration", "queue", "gate", "models", "engine", "precision"):
        del values[name]
    del values["parity"]["batch_probability_difference"], values["parity"]["cases"][0]["worst_crop"]
    values["accelerator"] = "none"
    first = ExportReport.from_json(values)
    assert (first.engine, first.precision, first.accelerator) == ("unknown", "unknown", None)
    assert (first.models, first.queue, first.weight_bits, first.calibration) == ({}, None, None, None)
    assert first.checkpoint == REPORT.checkpoint and first.parity.cases[0].worst_crop == 0


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        "{}",
        '{"version": 1, "models": {"face_detector": {}}}',
        '{"version": 1, "checkpoint": []}',
        '{"version": 1, "schema_version": 2}',
        '{"version": 1, "schema_version": "2"}',
    ],
)
def test_what_is_no_report_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "export_report.json"
    path.write_text(text)
    with pytest.raises(InvalidRepository, match="is no report of an export"):
        read_report(path)
    path.unlink()
    with pytest.raises(InvalidRepository, match="cannot be read"):
        read_report(path)

"""The report of an export, assembled from what its steps returned."""

from __future__ import annotations

import dataclasses
import hashlib
import platform
from importlib import metadata

from deepfake_triton import __version__
from deepfake_triton.contracts import frame_sampler
from deepfake_triton.export.options import PrecisionName
from deepfake_triton.export.selection import Selection
from deepfake_triton.export.served_graph import ServedGraph
from deepfake_triton.files.hashing import sha256_of_file
from deepfake_triton.host.cpu import has_vnni
from deepfake_triton.models.checkpoints.checkpoint import Checkpoint
from deepfake_triton.models.onnx_export import IR_VERSION, OPSET
from deepfake_triton.repository.export_report import ExportReport
from deepfake_triton.repository.report_sections import (
    CheckpointReport,
    DetectorReport,
    OnnxReport,
)

_REPORTED_PACKAGES = (
    *("torch", "onnx", "onnxruntime", "onnxruntime-openvino", "onnxscript", "numpy"),
    *("opencv-python-headless", "av", "tensorrt", "tensorrt-rtx-cu13-bindings"),
)


def assemble_report(
    selected: Selection, version: int, checkpoint: Checkpoint, *, sampler: ServedGraph | None = None
) -> ExportReport:
    """Assemble the report of a new version. `export_sha256` identifies its graphs and crop rule; `sampler` is
    the graph of `frame_sampler`, where the detector gets some frames only."""
    options, checks, graphs = selected.options, selected.checks, selected.lowered.graphs
    served = graphs.by_model() | ({frame_sampler().name: sampler} if sampler else {})
    models = {name: graph.report() for name, graph in served.items()}
    hashes = sorted((name, sorted(model.files.items())) for name, model in models.items())
    how = () if options.precision.name != "bf16" else ("bf16",)  # the files are those of FP32
    identity = repr((hashes, checkpoint.metadata.crop_rule, *how))
    return ExportReport(
        version=version,
        export_sha256=hashlib.sha256(identity.encode()).hexdigest(),
        checkpoint=CheckpointReport(
            source=checkpoint.source,
            sha256=checkpoint.sha256,
            layout=checkpoint.layout,
            weights=checkpoint.weights,
            metadata=dataclasses.asdict(checkpoint.metadata),
        ),
        detector=DetectorReport(**dataclasses.asdict(options.detector)),
        engine=options.engine.name,
        precision=options.precision.name,
        accelerator=options.engine.accelerator,
        weight_bits=_weight_bits(options.precision.name),
        calibration=selected.lowered.calibration,
        models=models,
        onnx=OnnxReport(
            opset=OPSET,
            ir_version=IR_VERSION,
            sha256={name: sha256_of_file(graph.onnx) for name, graph in graphs.by_model().items()},
        ),
        parity=checks.parity,
        fallback_parity=checks.fallback_parity,
        tried=selected.tried,
        gate=checks.gate,
        queue=checks.queue,
        versions=_package_versions(),
    )


def _weight_bits(precision: PrecisionName) -> int:
    if precision == "int8":
        return 8 if has_vnni() else 7
    return 16 if precision == "fp16" else 32


def _package_versions() -> dict[str, str]:
    versions = {"deepfake-triton": __version__, "python": platform.python_version()}
    for package in _REPORTED_PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = "not installed"
    return versions

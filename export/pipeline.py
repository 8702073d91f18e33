"""The export, start to end: checkpoint → ONNX → precision → engines → checks → model repository."""

from __future__ import annotations

import tempfile
from pathlib import Path

from deepfake_triton.console.progress import stage
from deepfake_triton.contracts import frame_sampler
from deepfake_triton.errors import ExportError
from deepfake_triton.export.options import (
    CheckpointWeights,
    DetectorOptions,
    ExportOptions,
    TensorRTEngine,
    UntrainedWeights,
    Weights,
)
from deepfake_triton.export.parity.accuracy_gate import read_gate_clips
from deepfake_triton.export.report import assemble_report
from deepfake_triton.export.repository.configs import model_configs
from deepfake_triton.export.repository.layout import (
    NewVersion,
    next_version_number,
    publish,
    require_room,
    require_writable,
)
from deepfake_triton.export.selection import Selection, select_fastest
from deepfake_triton.export.served_graph import ServedGraph
from deepfake_triton.host.onnx_runtime import import_onnx_runtime
from deepfake_triton.models.checkpoints.checkpoint import Checkpoint, checkpoint_from_file
from deepfake_triton.models.default_checkpoint import default_checkpoint
from deepfake_triton.models.detectors.build import detector_onnx
from deepfake_triton.models.frame_sampler import frame_sampler_onnx
from deepfake_triton.models.onnx_export import (
    classifier_onnx_from_checkpoint,
    extractor_onnx_from_checkpoint,
)
from deepfake_triton.models.random_weights import UNTRAINED_METADATA, untrained_checkpoint
from deepfake_triton.models.stages import Stages
from deepfake_triton.repository.export_report import ExportReport


def export(options: ExportOptions, *alternatives: ExportOptions) -> ExportReport:
    """Write the next version of a model repository, and return its report; with `alternatives`, which differ
    in precision and engine only, of the fastest on this machine that passes the checks.

    Raises ExportError, or InputError for the parity video; then nothing was written.
    """
    gate_clips = read_gate_clips(options.parity.gate) if options.parity.gate else None
    if isinstance(options.engine, TensorRTEngine):
        options.engine.load_library()
    require_writable(options.output)  # before minutes of work
    import_onnx_runtime()  # first: half way its absence costs minutes, and Ctrl-C inside it reads as absence
    checkpoint = load_checkpoint(options.weights)
    candidates = (options, *alternatives)
    for candidate in candidates:
        require_room(candidate.output, checkpoint.metadata.crop_side, candidate.engine.backend)
    try:
        with (
            tempfile.TemporaryDirectory(prefix="deepfake-triton-") as folder,
            stage("export: graphs", 3, "steps", steady=False) as bar,
        ):
            fp32 = build_fp32_graphs(checkpoint, options.detector, Path(folder))
            sampler = build_frame_sampler(options.detector, Path(folder))
            bar.update(f"export: {' or '.join(each.precision.name for each in candidates)}", 1)
            selected = select_fastest(candidates, checkpoint, fp32, gate_clips=gate_clips)
            bar.update("export: repository", 2)
            report = assemble_report(
                selected, next_version_number(options.output), checkpoint, sampler=sampler
            )
            version = collect_version(report, checkpoint, selected, sampler=sampler)
            publish(version, options.output)
    except OSError as error:  # a full disk, a folder without permission
        raise ExportError(f"{options.output}: cannot be written: {error}") from error
    return report


def load_checkpoint(weights: Weights) -> Checkpoint:
    """Load the checkpoint that the options name. Raises CheckpointError."""
    if isinstance(weights, UntrainedWeights):
        return untrained_checkpoint(UNTRAINED_METADATA.with_overrides(weights.metadata_overrides))
    if isinstance(weights, CheckpointWeights):
        return checkpoint_from_file(weights.path, weights.metadata_overrides, weights.lstm_bias)
    return default_checkpoint(weights.metadata_overrides)


def build_fp32_graphs(checkpoint: Checkpoint, detector: DetectorOptions, folder: Path) -> Stages[Path]:
    """Write the three networks as ONNX files in FP32. Raises DetectorError for the detector's weights."""
    return Stages(
        detector=detector_onnx(detector.name, folder / "detector.onnx", detector.size),
        extractor=extractor_onnx_from_checkpoint(checkpoint, folder / "extractor.onnx"),
        classifier=classifier_onnx_from_checkpoint(checkpoint, folder / "classifier.onnx"),
    )


def build_frame_sampler(detector: DetectorOptions, folder: Path) -> ServedGraph | None:
    """Write the graph that chooses the detector's frames; None where it gets all of them."""
    if detector.interval == 1:
        return None
    path = frame_sampler_onnx(folder / "sampler.onnx", detector.interval)
    return ServedGraph(path, "fp32", runs_on=("onnxruntime",))


def collect_version(
    report: ExportReport,
    checkpoint: Checkpoint,
    selected: Selection,
    *,
    sampler: ServedGraph | None = None,
) -> NewVersion:
    """Collect the files, configs and report of a new version."""
    options = selected.options
    by_model = selected.lowered.graphs.by_model() | ({frame_sampler().name: sampler} if sampler else {})
    return NewVersion(
        version=report.version,
        graph_files={name: graph.files for name, graph in by_model.items()},
        crop_rule=checkpoint.metadata.crop_rule,
        configs=model_configs(
            checkpoint.metadata,
            report.version,
            weights=checkpoint.weights,
            export_sha256=report.export_sha256,
            backend=options.engine.backend,
            graphs=by_model,
            max_queue=selected.checks.queue.max_queue,
            device=options.serving.device,
            detection_interval=options.detector.interval,
        ),
        report=report,
        detection_interval=options.detector.interval,
    )

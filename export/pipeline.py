"""The export, start to end: checkpoint → ONNX → precision → engines → checks → model repository."""

from __future__ import annotations

import tempfile
from pathlib import Path

from deepfake_triton.console.progress import stage
from deepfake_triton.errors import ExportError
from deepfake_triton.export.engines import build_engines
from deepfake_triton.export.options import (
    CheckpointWeights,
    DetectorOptions,
    Engine,
    ExportOptions,
    TensorRTEngine,
    UntrainedWeights,
    Weights,
)
from deepfake_triton.export.parity.accuracy_gate import check_accuracy, read_gate_clips
from deepfake_triton.export.parity.check import check_parity
from deepfake_triton.export.parity.sample import load_parity_sample
from deepfake_triton.export.precisions import lower_precision
from deepfake_triton.export.report import assemble_report
from deepfake_triton.export.repository.configs import model_configs
from deepfake_triton.export.repository.layout import (
    NewVersion,
    next_version_number,
    publish,
    require_room,
    require_writable,
)
from deepfake_triton.export.repository.queue_sizing import size_queue
from deepfake_triton.export.runners import engines_run_here, start_runners
from deepfake_triton.export.served_graph import ServedGraph
from deepfake_triton.host.onnx_runtime import import_onnx_runtime
from deepfake_triton.models.checkpoints.checkpoint import Checkpoint, checkpoint_from_file
from deepfake_triton.models.default_checkpoint import default_checkpoint
from deepfake_triton.models.detectors.build import detector_onnx
from deepfake_triton.models.onnx_export import (
    classifier_onnx_from_checkpoint,
    extractor_onnx_from_checkpoint,
)
from deepfake_triton.models.random_weights import UNTRAINED_METADATA, untrained_checkpoint
from deepfake_triton.models.runtimes.base import Runner
from deepfake_triton.models.runtimes.onnx_runner import OnnxRunner
from deepfake_triton.models.runtimes.torch_runner import torch_stages
from deepfake_triton.models.stages import Stages
from deepfake_triton.repository.export_report import ExportReport
from deepfake_triton.repository.report_sections import QueueReport


def export(options: ExportOptions) -> ExportReport:
    """Write the next version of a model repository, and return its report.

    Raises ExportError, or InputError for the parity video; then nothing was written.
    """
    gate_clips = read_gate_clips(options.parity.gate) if options.parity.gate else None
    if isinstance(options.engine, TensorRTEngine):
        options.engine.load_library()
    require_writable(options.output)  # before minutes of work
    import_onnx_runtime()  # first: half way its absence costs minutes, and Ctrl-C inside it reads as absence
    checkpoint = load_checkpoint(options.weights)
    metadata, precision = checkpoint.metadata, options.precision.name
    require_room(options.output, metadata.crop_side, options.engine.backend)
    try:
        with (
            tempfile.TemporaryDirectory(prefix="deepfake-triton-") as folder,
            stage("export: graphs", 5, "steps", steady=False) as bar,
        ):
            fp32 = build_fp32_graphs(checkpoint, options.detector, Path(folder))
            bar.update(f"export: {precision}", 1)
            graphs = lower_precision(fp32, checkpoint, precision=options.precision, engine=options.engine)
            if isinstance(options.engine, TensorRTEngine):
                bar.update("export: engines", 2)
                graphs = build_engines(graphs, options.engine)
            bar.update("export: checks", 3)
            reference, exported = start_reference(checkpoint, fp32), start_runners(graphs, options.engine)
            sample = load_parity_sample(options.parity.video, reference.detector, metadata.crop_rule)
            run_here = engines_run_here(graphs)
            parity = check_parity(
                sample, precision, reference=reference, exported=exported, engines_run_here=run_here
            )
            queue = size_queue(options.serving, exported if run_here else None, metadata.crop_side)
            gate = (
                check_accuracy(gate_clips, metadata, precision, reference=reference, exported=exported)
                if gate_clips
                else None
            )
            bar.update("export: repository", 4)
            report = assemble_report(
                options,
                next_version_number(options.output),
                checkpoint,
                graphs=graphs,
                parity=parity,
                queue=queue,
                gate=gate,
            )
            version = collect_version(report, checkpoint, graphs, queue=queue, engine=options.engine)
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


def start_reference(checkpoint: Checkpoint, fp32: Stages[Path]) -> Stages[Runner]:
    """Load what an export is compared with: the detector's FP32 graph, and the checkpoint in torch."""
    return torch_stages(checkpoint, OnnxRunner(fp32.detector))


def collect_version(
    report: ExportReport,
    checkpoint: Checkpoint,
    graphs: Stages[ServedGraph],
    *,
    queue: QueueReport,
    engine: Engine,
) -> NewVersion:
    """Collect the files, configs and report of a new version."""
    by_model = graphs.by_model()
    return NewVersion(
        version=report.version,
        graph_files={name: graph.files for name, graph in by_model.items()},
        crop_rule=checkpoint.metadata.crop_rule,
        configs=model_configs(
            checkpoint.metadata,
            report.version,
            weights=checkpoint.weights,
            export_sha256=report.export_sha256,
            backend=engine.backend,
            graphs=by_model,
            max_queue=queue.max_queue,
        ),
        report=report,
    )

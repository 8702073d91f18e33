"""The checks of an export: parity with torch, the accuracy gate, and the time of a clip."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from deepfake_triton.export.options import ExportOptions
from deepfake_triton.export.parity.accuracy_gate import GateClips, check_accuracy
from deepfake_triton.export.parity.check import check_parity
from deepfake_triton.export.parity.sample import load_parity_sample
from deepfake_triton.export.precisions import in_fp32
from deepfake_triton.export.repository.queue_sizing import size_queue
from deepfake_triton.export.runners import engines_run_here, start_runners
from deepfake_triton.export.served_graph import ServedGraph
from deepfake_triton.models.checkpoints.checkpoint import Checkpoint
from deepfake_triton.models.runtimes.base import Runner
from deepfake_triton.models.runtimes.onnx_runner import OnnxRunner
from deepfake_triton.models.runtimes.torch_runner import torch_stages
from deepfake_triton.models.stages import Stages
from deepfake_triton.repository.report_sections import GateReport, ParityReport, QueueReport


@dataclass(frozen=True)
class CheckReports:
    """What the checks of an export found, and the queue that fits the time of a clip. `fallback_parity` is of
    the same graphs in FP32, which is how NVIDIA's backend computes those of BF16."""

    parity: ParityReport
    queue: QueueReport
    gate: GateReport | None
    fallback_parity: ParityReport | None = None


def run_checks(
    checkpoint: Checkpoint,
    fp32: Stages[Path],
    graphs: Stages[ServedGraph],
    *,
    options: ExportOptions,
    gate_clips: GateClips | None,
) -> CheckReports:
    """Compare the exported `graphs` with torch, and time them.

    Raises ParityError, or InputError for the parity video.
    """
    reference, exported = start_reference(checkpoint, fp32), start_runners(graphs, options.engine)
    metadata, precision, interval = checkpoint.metadata, options.precision.name, options.detector.interval
    run_here = engines_run_here(graphs)
    sample = load_parity_sample(
        options.parity.video, reference.detector, metadata.crop_rule, detection_interval=interval
    )
    return CheckReports(
        parity=check_parity(
            sample, precision, reference=reference, exported=exported, engines_run_here=run_here
        ),
        fallback_parity=check_parity(
            sample, "fp32", reference=reference, exported=start_runners(in_fp32(graphs), options.engine)
        )
        if precision == "bf16"
        else None,
        queue=size_queue(
            options.serving,
            exported if run_here else None,
            metadata.crop_side,
            detection_interval=interval,
        ),
        gate=check_accuracy(
            gate_clips,
            metadata,
            precision,
            reference=reference,
            exported=exported,
            detection_interval=interval,
        )
        if gate_clips
        else None,
    )


def start_reference(checkpoint: Checkpoint, fp32: Stages[Path]) -> Stages[Runner]:
    """Load what an export is compared with: the detector's FP32 graph, and the checkpoint in torch."""
    return torch_stages(checkpoint, OnnxRunner(fp32.detector))

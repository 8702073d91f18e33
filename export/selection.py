"""The choice among candidates of an export: the fastest on this machine that passes the checks."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from deepfake_triton.console.progress import stage
from deepfake_triton.errors import CalibrationError, ParityError
from deepfake_triton.export.checks import CheckReports, run_checks
from deepfake_triton.export.engines import build_engines
from deepfake_triton.export.options import (
    Bf16,
    ExportOptions,
    Fp32,
    Int8,
    OnnxRuntimeEngine,
    Precision,
    TensorRTEngine,
)
from deepfake_triton.export.parity.accuracy_gate import GateClips
from deepfake_triton.export.precisions import LoweredGraphs, lower_precision
from deepfake_triton.export.runners import start_runners
from deepfake_triton.host.cpu import has_bf16, has_vnni
from deepfake_triton.host.onnx_runtime import import_onnx_runtime
from deepfake_triton.models.checkpoints.checkpoint import Checkpoint
from deepfake_triton.models.runtimes.latency import median_times_ms, typical_inputs
from deepfake_triton.models.runtimes.onnx_runner import PROVIDERS
from deepfake_triton.models.stages import Stages
from deepfake_triton.repository.report_sections import CandidateReport

_WARM_UP, _ROUNDS = 1, 7
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Selection:
    """The candidate that is written, what its checks found, and all that were tried, the fastest first."""

    options: ExportOptions
    lowered: LoweredGraphs
    checks: CheckReports
    tried: tuple[CandidateReport, ...] = ()


def candidates_for_cpu(options: ExportOptions, int8: Int8 | None = None) -> tuple[ExportOptions, ...]:
    """Return the options with each precision and accelerator that is installed and that this CPU has
    instructions for; INT8, which takes minutes to calibrate, as `int8` says, or not at all."""
    found: list[tuple[Precision, OnnxRuntimeEngine]] = [(Fp32(), OnnxRuntimeEngine())]
    if PROVIDERS["openvino"][0] in import_onnx_runtime().get_available_providers():
        openvino = OnnxRuntimeEngine(openvino=True)
        found.append((Fp32(), openvino))
        if has_bf16():
            found.append((Bf16(), openvino))
        if int8 is not None and has_vnni():
            found.append((int8, openvino))
    return tuple(replace(options, precision=precision, engine=engine) for precision, engine in found)


def select_fastest(
    candidates: Sequence[ExportOptions],
    checkpoint: Checkpoint,
    fp32: Stages[Path],
    *,
    gate_clips: GateClips | None,
) -> Selection:
    """Lower the graphs for each candidate, and check them from the fastest on until one passes.

    A single candidate is not timed. One of several that cannot be calibrated is left out, with a warning.
    Raises CalibrationError, and ParityError where none passes.
    """

    def check(options: ExportOptions, lowered: LoweredGraphs) -> Selection:
        checks = run_checks(checkpoint, fp32, lowered.graphs, options=options, gate_clips=gate_clips)
        return Selection(options, lowered, checks)

    if len(candidates) == 1:
        return check(candidates[0], _lower(candidates[0], checkpoint, fp32))
    candidates, lowered = _lower_all(candidates, checkpoint, fp32)
    times_ms = _clip_times_ms(candidates, lowered, checkpoint.metadata.crop_side)
    order = sorted(range(len(candidates)), key=times_ms.__getitem__)
    selected, failure = None, None
    tried: list[CandidateReport] = []
    for index in order:
        options, refused = candidates[index], None
        if selected is None:
            try:
                selected = check(options, lowered[index])
            except ParityError as error:
                failure, refused = error, str(error)
        precision, accelerator = options.precision.name, options.engine.accelerator
        tried.append(CandidateReport(precision, accelerator, round(times_ms[index], 1), refused))
    if selected is None:
        raise failure or ParityError("no candidate to choose from")
    return replace(selected, tried=tuple(tried))


def _lower_all(
    candidates: Sequence[ExportOptions], checkpoint: Checkpoint, fp32: Stages[Path]
) -> tuple[list[ExportOptions], list[LoweredGraphs]]:
    """Return the candidates whose graphs could be lowered, and those."""
    kept, lowered = list[ExportOptions](), list[LoweredGraphs]()
    for options in candidates:
        try:
            lowered.append(_lower(options, checkpoint, fp32))
        except CalibrationError as error:
            logger.warning("%s is left out: %s", options.precision.name, error)
        else:
            kept.append(options)
    return kept, lowered


def _lower(options: ExportOptions, checkpoint: Checkpoint, fp32: Stages[Path]) -> LoweredGraphs:
    lowered = lower_precision(fp32, checkpoint, precision=options.precision, engine=options.engine)
    if isinstance(options.engine, TensorRTEngine):
        return replace(lowered, graphs=build_engines(lowered.graphs, options.engine))
    return lowered


def _clip_times_ms(
    candidates: Sequence[ExportOptions], lowered: Sequence[LoweredGraphs], crop_side: int
) -> list[float]:
    """Return the time of the three networks for a typical clip, for each candidate; measured interleaved."""
    runners = [
        start_runners(each.graphs, options.engine) for each, options in zip(lowered, candidates, strict=True)
    ]
    interval = candidates[0].detector.interval
    with stage("timing candidates"):
        by_network = [
            median_times_ms(same_network, feed, warm_up=_WARM_UP, rounds=_ROUNDS)
            for same_network, feed in zip(
                zip(*runners, strict=True), typical_inputs(crop_side, interval), strict=True
            )
        ]
    return [sum(times) for times in zip(*by_network, strict=True)]

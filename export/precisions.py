"""The precision of an export: its FP32 graphs kept, marked for BF16, converted to FP16, or quantized."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import onnx

from deepfake_triton.errors import ExportError
from deepfake_triton.export.options import Bf16, Engine, Fp32, Int8, Precision
from deepfake_triton.export.quantization.calibration import bundled_portraits, collect_calibration_faces
from deepfake_triton.export.quantization.quantize import quantize_to_int8
from deepfake_triton.export.quantization.variations import vary_faces
from deepfake_triton.export.served_graph import ServedGraph
from deepfake_triton.host.cpu import has_bf16
from deepfake_triton.models.checkpoints.checkpoint import Checkpoint
from deepfake_triton.models.fp16 import convert_to_fp16
from deepfake_triton.models.onnx_export import save_onnx
from deepfake_triton.models.runtimes.onnx_runner import OnnxRunner, Provider
from deepfake_triton.models.stages import Stages
from deepfake_triton.repository.report_sections import CalibrationReport


@dataclass(frozen=True)
class LoweredGraphs:
    """The three networks in the precision that they are served in, and what INT8 was calibrated on."""

    graphs: Stages[ServedGraph]
    calibration: CalibrationReport | None = None


def lower_precision(
    fp32: Stages[Path], checkpoint: Checkpoint, *, precision: Precision, engine: Engine
) -> LoweredGraphs:
    """Write the graphs of a precision beside the FP32 ones. Raises CalibrationError for INT8 that cannot be
    calibrated, or changes too much."""
    if isinstance(precision, Fp32):
        return LoweredGraphs(keep_fp32(fp32, engine.provider))
    if isinstance(precision, Bf16):
        return LoweredGraphs(mark_for_bf16(fp32))
    if isinstance(precision, Int8):
        return _calibrate_and_quantize(fp32, checkpoint, precision, engine=engine)
    return LoweredGraphs(convert_graphs_to_fp16(fp32, engine.provider))


def _calibrate_and_quantize(
    fp32: Stages[Path], checkpoint: Checkpoint, int8: Int8, *, engine: Engine
) -> LoweredGraphs:
    """Quantize on the faces of the files that are named, or of the bundled portraits."""
    faces = collect_calibration_faces(
        int8.calibration or (bundled_portraits(),),
        OnnxRunner(fp32.detector),
        checkpoint.metadata.crop_rule,
        samples=int8.samples,
        seed=int8.seed,
    )
    calibration = CalibrationReport(not int8.calibration, len(faces.crops), faces.unused)
    calibrated_on = faces if int8.calibration else vary_faces(faces)
    return LoweredGraphs(quantize_to_int8(fp32, checkpoint, calibrated_on, engine=engine), calibration)


def keep_fp32(fp32: Stages[Path], provider: Provider) -> Stages[ServedGraph]:
    """Return the FP32 graphs as they are."""
    return fp32.map(lambda path: ServedGraph(path, "fp32", provider=provider))


def mark_for_bf16(fp32: Stages[Path]) -> Stages[ServedGraph]:
    """Return the FP32 graphs, the extractor to be computed in bfloat16 by OpenVINO.

    The detector would move boxes by 1 px on average, and up to 14; the LSTM is fastest under the plain
    provider. Raises ExportError on a CPU where that cannot be checked.
    """
    if not has_bf16():
        raise ExportError(
            "--precision bf16: this CPU has no instructions for it (avx512_bf16, amx_bf16); export where it "
            "will be served, or in fp32 or int8"
        )
    return Stages(
        detector=ServedGraph(fp32.detector, "fp32", provider="openvino"),
        extractor=ServedGraph(fp32.extractor, "bf16", runs_on=("openvino",), provider="openvino-bf16"),
        classifier=ServedGraph(fp32.classifier, "fp32"),
    )


def in_fp32(graphs: Stages[ServedGraph]) -> Stages[ServedGraph]:
    """Return graphs for BF16 as a runtime computes them that takes no precision."""
    return graphs.map(lambda graph: replace(graph, precision="fp32", provider="openvino"))


def convert_graphs_to_fp16(fp32: Stages[Path], provider: Provider) -> Stages[ServedGraph]:
    """Write all three graphs in FP16, but for LSTMs, pre- and postprocessing."""

    def convert(path: Path) -> ServedGraph:
        target = path.with_suffix(".fp16.onnx")
        save_onnx(convert_to_fp16(onnx.load(path)), target)
        return ServedGraph(target, "fp16", provider=provider)

    return fp32.map(convert)

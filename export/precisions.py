"""The precision of an export: its FP32 graphs kept, converted to FP16, or quantized to INT8."""

from __future__ import annotations

from pathlib import Path

import onnx

from deepfake_triton.export.options import Engine, Fp32, Int8, Precision
from deepfake_triton.export.quantization.calibration import collect_calibration_faces
from deepfake_triton.export.quantization.quantize import quantize_to_int8
from deepfake_triton.export.served_graph import ServedGraph
from deepfake_triton.models.checkpoints.checkpoint import Checkpoint
from deepfake_triton.models.fp16 import convert_to_fp16
from deepfake_triton.models.onnx_export import save_onnx
from deepfake_triton.models.runtimes.onnx_runner import OnnxRunner, Provider
from deepfake_triton.models.stages import Stages


def lower_precision(
    fp32: Stages[Path], checkpoint: Checkpoint, *, precision: Precision, engine: Engine
) -> Stages[ServedGraph]:
    """Write the graphs of a precision beside the FP32 ones. Raises CalibrationError for INT8 that cannot be
    calibrated, or changes too much."""
    if isinstance(precision, Fp32):
        return keep_fp32(fp32, engine.provider)
    if isinstance(precision, Int8):
        detector, crop_rule = OnnxRunner(fp32.detector), checkpoint.metadata.crop_rule
        faces = collect_calibration_faces(
            precision.calibration, detector, crop_rule, samples=precision.samples, seed=precision.seed
        )
        return quantize_to_int8(fp32, checkpoint, faces, engine=engine)
    return convert_graphs_to_fp16(fp32, engine.provider)


def keep_fp32(fp32: Stages[Path], provider: Provider) -> Stages[ServedGraph]:
    """Return the FP32 graphs as they are."""
    return fp32.map(lambda path: ServedGraph(path, "fp32", provider=provider))


def convert_graphs_to_fp16(fp32: Stages[Path], provider: Provider) -> Stages[ServedGraph]:
    """Write all three graphs in FP16, but for LSTMs, pre- and postprocessing."""

    def convert(path: Path) -> ServedGraph:
        target = path.with_suffix(".fp16.onnx")
        save_onnx(convert_to_fp16(onnx.load(path)), target)
        return ServedGraph(target, "fp16", provider=provider)

    return fp32.map(convert)

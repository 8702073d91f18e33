"""Post-training quantization with accuracy control: blocks that cost too much accuracy stay in FP32.

As nncf's `quantize_with_accuracy_control` does, blocks are ranked by what each one alone changes, and the
most sensitive ones are reverted until the whole graph is within the limit.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import onnx

from deepfake_triton.console.progress import track_progress
from deepfake_triton.errors import CalibrationError
from deepfake_triton.export.parity.error_metrics import Difference
from deepfake_triton.export.quantization.qdq import insert_qdq, quantizable_nodes
from deepfake_triton.export.quantization.quant_params import QuantParams
from deepfake_triton.host.cpu import has_vnni
from deepfake_triton.models.graph_partition import group_into_blocks, named_copy
from deepfake_triton.models.onnx_export import save_onnx
from deepfake_triton.models.runtimes.base import Runner
from deepfake_triton.repository.report_sections import QuantizationReport


def quantize_with_sensitivity(
    graph: Path,
    params: Mapping[str, QuantParams],
    output: Path,
    *,
    start: Callable[[Path], Runner],
    difference: Difference,
    limit: float,
    rounded: Path | None = None,
) -> QuantizationReport:
    """Write the INT8 graph with as few blocks in FP32 as keep its `difference` within the `limit`.

    `params` are those of its activations, by tensor name; `start` starts a graph under the engine that will
    serve it. With `rounded`, the same graph with weights rounded for INT8, that is what is written, while the
    sensitivity of blocks is that of `graph`. Raises CalibrationError when even the least sensitive block
    alone differs too much.
    """
    model, final = (named_copy(onnx.load(path)) for path in (graph, rounded or graph))
    groups = group_into_blocks(quantizable_nodes(model))
    with tempfile.TemporaryDirectory(prefix="deepfake-triton-") as folder:
        trial = Path(folder) / "trial.onnx"

        def start_trial(source: onnx.ModelProto, in_fp32: Sequence[str]) -> Runner:
            excluded = [name for block in in_fp32 for name in groups[block]]
            onnx.save(insert_qdq(source, params, excluded=excluded), str(trial))
            return start(trial)

        sensitivity = {
            block: difference(start_trial(model, [other for other in groups if other != block]))
            for block in track_progress(groups, "sensitivity to INT8", "blocks")
        }
        most_sensitive = sorted(groups, key=lambda block: -sensitivity[block])
        for count in track_progress(range(len(groups)), "reverting blocks to FP32", "blocks"):
            kept = tuple(most_sensitive[:count])
            total = difference(start_trial(final, kept))
            if total <= limit:
                save_onnx(onnx.load(trial), output)
                ordered = {block: sensitivity[block] for block in most_sensitive}
                return QuantizationReport(ordered, kept, total, limit)
    raise CalibrationError(
        f"INT8 with all blocks but {most_sensitive[-1]} in FP32 still differs by {total:.2e}, "
        f"at most {limit:.2e}; calibrate on more of what the server will see, or keep FP32"
    )


def quantize_lstm(graph: Path, output: Path) -> None:
    """Write the graph with dynamic INT8 LSTM and matrix products, for ONNX Runtime's CPU provider."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    logging.disable(logging.WARNING)  # it asks for a preparation that the export has done
    try:
        quantize_dynamic(
            graph,
            output,
            op_types_to_quantize=["LSTM", "MatMul", "Gemm"],
            weight_type=QuantType.QInt8,
            reduce_range=not has_vnni(),
        )
    finally:
        logging.disable(logging.NOTSET)

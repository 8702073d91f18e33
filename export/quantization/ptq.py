"""Post-training quantization with accuracy control: blocks that cost too much accuracy stay in FP32.

Where the whole graph in INT8 is not within the limit, blocks are ranked by what each one alone changes, and
the most sensitive ones are reverted until it is, as nncf's `quantize_with_accuracy_control` does.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import onnx

from deepfake_triton.console.progress import stage, track_progress
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
    sensitivity of blocks is that of `graph`. Blocks are measured one by one only where the whole graph
    exceeds the limit. Raises CalibrationError when even the least sensitive block alone differs too much.
    """
    model, final = (named_copy(onnx.load(path)) for path in (graph, rounded or graph))
    groups = group_into_blocks(quantizable_nodes(model))
    with tempfile.TemporaryDirectory(prefix="deepfake-triton-") as folder:
        trial = Path(folder) / "trial.onnx"

        def measure(source: onnx.ModelProto, in_fp32: Sequence[str]) -> float:
            excluded = [name for block in in_fp32 for name in groups[block]]
            onnx.save(insert_qdq(source, params, excluded=excluded), str(trial))
            return difference(start(trial))

        total = measure(final, ())
        if total <= limit:
            save_onnx(onnx.load(trial), output)
            return QuantizationReport({}, (), total, limit)
        sensitivity = _rank_blocks(groups, lambda others: measure(model, others))
        most_sensitive = tuple(sensitivity)
        report: QuantizationReport | None = None
        low, high = 1, len(most_sensitive) - 1  # bisected: a trial takes seconds
        with stage("reverting blocks to FP32") as bar:
            while low <= high:
                count = (low + high) // 2
                total = measure(final, most_sensitive[:count])
                if total <= limit:
                    save_onnx(onnx.load(trial), output)
                    report = QuantizationReport(sensitivity, most_sensitive[:count], total, limit)
                    high = count - 1
                else:
                    low = count + 1
                bar.advance()
    if report is None:
        raise CalibrationError(
            f"INT8 with all blocks but {most_sensitive[-1]} in FP32 still differs by {total:.2e}, "
            f"at most {limit:.2e}; calibrate on more of what the server will see, or keep FP32"
        )
    return report


def _rank_blocks(
    groups: Mapping[str, Sequence[str]], measure: Callable[[Sequence[str]], float]
) -> dict[str, float]:
    """Return what each block alone changes in INT8, the most first; `measure` takes the blocks in FP32."""
    sensitivity = {
        block: measure([other for other in groups if other != block])
        for block in track_progress(groups, "sensitivity to INT8", "blocks")
    }
    return dict(sorted(sensitivity.items(), key=lambda item: -item[1]))


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

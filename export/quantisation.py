"""FP32 graphs to INT8 ones: Q/DQ for ONNX Runtime, OpenVINO and TensorRT alike, and LSTMs for ONNX Runtime.

TensorRT sets the rules of the former: symmetric int8 throughout, weights by channel, biases as they are.
Weights have 7 bits where the CPU at hand would cut off sums of 8-bit ones (see `cpu`).
"""

from __future__ import annotations

import contextlib
import io
import logging
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx

from deepfake_triton.cpu import adds_int8_exactly
from deepfake_triton.errors import CalibrationError
from deepfake_triton.export.differences import Difference
from deepfake_triton.export.graph_parts import blocks, named_copy, network_nodes
from deepfake_triton.export.onnx_graphs import save_onnx
from deepfake_triton.export.runners import Feed, Runner

OPERATORS = ("Conv", "Add", "Relu", "MaxPool", "GlobalAveragePool")
PERCENTILE = 99.99
"""Of a map's values; what lies beyond is cut off."""


@dataclass(frozen=True)
class Quantised:
    """What became of a graph: how much each block differs if it alone is INT8, the worst first, the blocks
    that stayed FP32, how much the whole then differs, and the limit for that."""

    sensitivity: Mapping[str, float]
    kept_in_fp32: tuple[str, ...]
    difference: float
    limit: float


def quantise(
    graph: Path,
    feeds: Sequence[Feed],
    start: Callable[[Path], Runner],
    difference: Difference,
    limit: float,
    output: Path,
) -> Quantised:
    """Write the INT8 graph with as few blocks in FP32 as keep its `difference` within the `limit`.

    Raises CalibrationError when even the least sensitive block alone does not.
    """
    model = named_copy(onnx.load(graph))
    nodes = [node for node in network_nodes(model) if node.op_type in OPERATORS]
    groups = blocks(nodes)
    names = [node.name for node in nodes]
    with tempfile.TemporaryDirectory(prefix="deepfake-triton-") as folder:
        named = Path(folder) / "named.onnx"
        save_onnx(model, named)
        ranges = _ranges(named, feeds, Path(folder))

        def written(in_fp32: Sequence[str], path: Path) -> Path:
            excluded = [name for block in in_fp32 for name in groups[block]]
            save_onnx(_with_qdq(model, ranges, names, excluded), path)
            return path

        trial = Path(folder) / "trial.onnx"
        sensitivity = {
            block: difference(start(written([other for other in groups if other != block], trial)))
            for block in groups
        }
        worst_first = sorted(groups, key=lambda block: -sensitivity[block])
        for count in range(len(groups)):
            kept = tuple(worst_first[:count])
            whole = difference(start(written(kept, trial)))
            if whole <= limit:
                shutil.copyfile(trial, output)
                ordered = {block: sensitivity[block] for block in worst_first}
                return Quantised(ordered, kept, whole, limit)
    raise CalibrationError(
        f"INT8 with all blocks but {worst_first[-1]} in FP32 still differs by {whole:.2e}, "
        f"at most {limit:.2e}; calibrate on more of what the server will see, or keep FP32"
    )


def quantise_lstm(graph: Path, output: Path) -> None:
    """Write the graph with its LSTM and matrix products in INT8 at scales found for each run, for ONNX
    Runtime's CPU provider."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    logging.disable(logging.WARNING)  # it asks for a preparation that the export has done
    try:
        quantize_dynamic(
            graph,
            output,
            op_types_to_quantize=["LSTM", "MatMul", "Gemm"],
            weight_type=QuantType.QInt8,
            reduce_range=not adds_int8_exactly(),
        )
    finally:
        logging.disable(logging.NOTSET)


def _ranges(graph: Path, feeds: Sequence[Feed], folder: Path) -> Any:
    """How far every tensor reaches on the feeds."""
    from onnxruntime.quantization.calibrate import CalibrationMethod, create_calibrator

    calibrator: Any = create_calibrator(
        graph,
        list(OPERATORS),
        augmented_model_path=str(folder / "augmented.onnx"),
        calibrate_method=CalibrationMethod.Percentile,
        extra_options={"symmetric": True, "percentile": PERCENTILE},
    )
    with contextlib.redirect_stdout(io.StringIO()):  # it prints what it is doing
        for feed in feeds:  # one at a time: the calibrator keeps all that a reader gives it
            calibrator.collect_data(_Reader([feed]))
        return calibrator.compute_data()


class _Reader:
    def __init__(self, feeds: Sequence[Feed]) -> None:
        self.feeds = iter(feeds)

    def get_next(self) -> dict[str, Any] | None:
        feed = next(self.feeds, None)
        return None if feed is None else dict(feed)


def _with_qdq(model: onnx.ModelProto, ranges: Any, names: list[str], excluded: list[str]) -> onnx.ModelProto:
    from onnxruntime.quantization import QuantType
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    quantizer: Any = QDQQuantizer(
        copy,
        True,
        not adds_int8_exactly(),
        QuantType.QInt8,
        QuantType.QInt8,
        ranges,
        [name for name in names if name not in set(excluded)],
        [],
        list(OPERATORS),
        {"ActivationSymmetric": True, "WeightSymmetric": True, "QuantizeBias": False},
    )
    quantizer.quantize_model()
    quantizer.model.topological_sort()
    result: onnx.ModelProto = quantizer.model.model
    return result

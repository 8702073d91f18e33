"""FP32 graphs to INT8 ones: Q/DQ for ONNX Runtime, OpenVINO and TensorRT alike, and LSTMs for ONNX Runtime.

TensorRT sets the rules of the former: symmetric int8 throughout, weights by channel, biases as they are.
Weights have 7 bits where the CPU at hand would cut off sums of 8-bit ones (see `cpu`).
"""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from deepfake_triton.cpu import adds_int8_exactly
from deepfake_triton.errors import CalibrationError
from deepfake_triton.export.differences import Difference
from deepfake_triton.export.graph_parts import blocks, named_copy, network_nodes
from deepfake_triton.export.grid import HIGHEST, Grid
from deepfake_triton.export.moved_maps import movable, move, unrounded
from deepfake_triton.export.onnx_graphs import save_onnx
from deepfake_triton.export.rounding import Grids
from deepfake_triton.export.runners import Feed, Runner

OPERATORS = ("Conv", "Add", "Relu", "MaxPool")
_REACHES_TRIED = np.geomspace(0.05, 1, 64)
"""Shares of a map's largest value up to which the grid may reach; what lies beyond is cut off."""
_POWER = 3
"""Of errors, when reaches are compared: squares cut off more, for which clips unlike those seen here pay."""


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
    grids: Mapping[str, Grid],
    start: Callable[[Path], Runner],
    difference: Difference,
    limit: float,
    output: Path,
    fitted: Path | None = None,
) -> Quantised:
    """Write the INT8 graph with as few blocks in FP32 as keep its `difference` within the `limit`.

    `grids` are those of its maps, by tensor. With `fitted`, the same graph with weights for INT8, that is
    what is written, while the blocks' sensitivity is that of `graph`. Raises CalibrationError when even the
    least sensitive block alone differs too much.
    """
    model, final = (named_copy(onnx.load(each)) for each in (graph, fitted or graph))
    nodes = int8_nodes(model)
    groups = blocks(nodes)
    names = [node.name for node in nodes]
    with tempfile.TemporaryDirectory(prefix="deepfake-triton-") as folder:
        trial = Path(folder) / "trial.onnx"

        def started(source: onnx.ModelProto, in_fp32: Sequence[str]) -> Runner:
            excluded = [name for block in in_fp32 for name in groups[block]]
            onnx.save(_with_qdq(source, grids, names, excluded), str(trial))
            return start(trial)

        sensitivity = {
            block: difference(started(model, [other for other in groups if other != block]))
            for block in groups
        }
        worst_first = sorted(groups, key=lambda block: -sensitivity[block])
        for count in range(len(groups)):
            kept = tuple(worst_first[:count])
            whole = difference(started(final, kept))
            if whole <= limit:
                save_onnx(onnx.load(trial), output)
                ordered = {block: sensitivity[block] for block in worst_first}
                return Quantised(ordered, kept, whole, limit)
    raise CalibrationError(
        f"INT8 with all blocks but {worst_first[-1]} in FP32 still differs by {whole:.2e}, "
        f"at most {limit:.2e}; calibrate on more of what the server will see, or keep FP32"
    )


def int8_nodes(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    """Those of a graph's network that can compute in INT8."""
    constants = {each.name for each in model.graph.initializer}
    return [
        node
        for node in network_nodes(model)
        if node.op_type in OPERATORS and not (node.op_type == "Add" and not constants.isdisjoint(node.input))
    ]


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


def map_grids(graph: Path, feeds: Sequence[Feed]) -> dict[str, Grid]:
    """The INT8 grid of every map, by tensor: that on which the feeds lose least."""
    from onnxruntime.quantization.calibrate import CalibrationMethod, create_calibrator

    with (
        tempfile.TemporaryDirectory(prefix="deepfake-triton-") as folder,
        contextlib.redirect_stdout(io.StringIO()),  # the calibrator prints what it is doing
    ):
        calibrator: Any = create_calibrator(
            graph,
            list(OPERATORS),
            augmented_model_path=str(Path(folder) / "augmented.onnx"),
            calibrate_method=CalibrationMethod.Percentile,
            extra_options={"symmetric": True},
        )
        for feed in feeds:  # one at a time: the calibrator keeps all that a reader gives it
            calibrator.collect_data(_Reader([feed]))
        histograms = calibrator.collector.get_histogram_dict()
    model = onnx.load(graph)
    moved = movable(model)
    grids = {
        name: _best_grid(counts, edges, name in moved) for name, (counts, edges, *_) in histograms.items()
    }
    for node in network_nodes(model):
        if node.op_type == "MaxPool":  # numbers of one grid stay on it
            grids[node.output[0]] = grids[node.input[0]]
    return grids


def convolution_grids(graph: Path, grids: Mapping[str, Grid]) -> list[Grids]:
    """Of every convolution's maps, in the graph's order."""
    nodes = network_nodes(onnx.load(graph))
    read_and_written = [(node.input[0], node.output[0]) for node in nodes if node.op_type == "Conv"]
    return [Grids(grids[read], grids[written]) for read, written in read_and_written]


def highest_weight() -> int:
    """Of the whole numbers that ONNX Runtime's quantiser makes of weights, on this machine."""
    return 127 if adds_int8_exactly() else 64


def _best_grid(counts: npt.NDArray[np.int64], edges: npt.NDArray[np.float32], moved: bool) -> Grid:
    """Of a map whose absolute values are so many between those edges."""
    middles = (edges[1:].astype(np.float64) + edges[:-1]) / 2
    tried = _REACHES_TRIED * max(float(edges[-1]), 1e-12)
    highest = Grid(1.0, moved).highest
    steps = tried[:, None] / highest
    lost = np.abs(np.minimum(np.rint(middles / steps), highest) * steps - middles)
    return Grid(float(tried[(lost**_POWER * counts).sum(axis=1).argmin()]) / highest, moved)


class _Reader:
    def __init__(self, feeds: Sequence[Feed]) -> None:
        self.feeds = iter(feeds)

    def get_next(self) -> dict[str, Any] | None:
        feed = next(self.feeds, None)
        return None if feed is None else dict(feed)


def _with_qdq(
    model: onnx.ModelProto, grids: Mapping[str, Grid], names: list[str], excluded: list[str]
) -> onnx.ModelProto:
    from onnxruntime.quantization import QuantType
    from onnxruntime.quantization.calibrate import CalibrationMethod, TensorsData
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

    in_int8 = set(names) - set(excluded)
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    reaches = {name: np.float32(HIGHEST * grid.step) for name, grid in grids.items()}
    ranges = {name: (-reach, reach) for name, reach in reaches.items()}
    free = unrounded(copy)
    offsets = {name: grids[name].offset for name in movable(copy) if grids[name].moved}
    move(copy, offsets, in_int8, highest_weight())
    quantizer: Any = QDQQuantizer(
        copy,
        True,
        not adds_int8_exactly(),
        QuantType.QInt8,
        QuantType.QInt8,
        TensorsData(CalibrationMethod.MinMax, ranges),
        [name for name in names if name in in_int8],
        [],
        list(OPERATORS),
        {"ActivationSymmetric": True, "WeightSymmetric": True, "QuantizeBias": False},
    )
    quantizer.quantize_model()
    quantizer.model.topological_sort()
    result: onnx.ModelProto = quantizer.model.model
    _take_off_grid(result, free)
    return result


def _take_off_grid(model: onnx.ModelProto, names: set[str]) -> None:
    """Let those who read these maps rounded read them as they are."""
    nodes = list(model.graph.node)
    rounded = {node.input[0]: node for node in nodes if node.op_type == "QuantizeLinear"}
    back = {node.input[0]: node for node in nodes if node.op_type == "DequantizeLinear"}
    for name in names & rounded.keys():
        behind = back[rounded[name].output[0]]
        for node in nodes:
            for index, read in enumerate(node.input):
                if read == behind.output[0]:
                    node.input[index] = name
        model.graph.node.remove(rounded[name])
        model.graph.node.remove(behind)
    used = {name for node in model.graph.node for name in node.input}
    for constant in [each for each in model.graph.initializer if each.name not in used]:
        model.graph.initializer.remove(constant)

"""Maps behind a ReLU moved down by half of what they reach: symmetric INT8 gives them 8 bits then, not 7.

A map that is never negative leaves the lower half of a symmetric grid unused. Moved down by 128 steps it
fills the grid, whose end then does what the ReLU did. Biases before and behind undo the move, which changes
no answer, as long as nobody reads the map with a margin of zeros around it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from deepfake_triton.export.graph_parts import network_nodes


def movable(model: onnx.ModelProto) -> set[str]:
    """The maps of a graph's network that can be moved."""
    graph = _Graph(model)
    return {
        node.output[0]
        for node in network_nodes(model)
        if node.op_type == "Relu"
        and graph.bias_of(node.input[0]) is not None
        and graph.can_be_undone(node.output[0])
    }


def move(
    model: onnx.ModelProto, offsets: Mapping[str, float], in_int8: Collection[str], highest_weight: int
) -> None:
    """Move maps down by their offsets, in place.

    Of the nodes `in_int8`, convolutions are given the biases that fit their weights on the grid of whole
    numbers up to `highest_weight`, and ReLUs are left to the grid behind them. The offset of a sum
    goes into the bias of a convolution whose answer is added there; that answer is `unrounded`.
    """
    graph = _Graph(model)
    for name, offset in offsets.items():
        relu = graph.writer[name]
        before = relu.input[0]
        graph.add_to_bias(graph.bias_of(before), np.float64(-offset))
        graph.undo_behind(name, offset, in_int8, highest_weight)
        if relu.name in in_int8 and graph.writer[before].name in in_int8:
            graph.writer[before].output[0] = name
            model.graph.node.remove(relu)
        else:
            relu.op_type = "Clip"
            relu.input.append(f"{name}_lowest")
            lowest = np.float32(-offset)
            model.graph.initializer.append(numpy_helper.from_array(np.array(lowest), f"{name}_lowest"))
    graph.write_biases()


def unrounded(model: onnx.ModelProto) -> set[str]:
    """Maps that need no grid: of each sum the answer of a convolution that nobody else reads, because an
    engine adds before it rounds; and what nobody but a mean reads."""
    graph = _Graph(model)
    nodes = network_nodes(model)
    summands = (graph.summand(node) for node in nodes if node.op_type == "Add")
    found = {conv.output[0] for conv in summands if conv is not None}
    for node in nodes:
        if node.op_type == "GlobalAveragePool" and graph.writer[node.input[0]].op_type == "Relu":
            read = (node.input[0], graph.writer[node.input[0]].input[0])
            if all(len(graph.readers[name]) == 1 for name in read):
                found |= set(read)
    return found


class _Graph:
    """Who writes and who reads each tensor, and biases that are being changed."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = model
        self.writer = {name: node for node in model.graph.node for name in node.output}
        self.readers: dict[str, list[onnx.NodeProto]] = defaultdict(list)
        for node in model.graph.node:
            for name in node.input:
                self.readers[name].append(node)
        self.constants = {each.name: each for each in model.graph.initializer}
        self.outputs = {each.name for each in model.graph.output}
        self.added: dict[str, npt.NDArray[np.float64]] = {}

    def bias_of(self, name: str) -> onnx.NodeProto | None:
        """The convolution whose bias moves this tensor and nothing else: its writer, or a summand's."""
        node = self.writer.get(name)
        if node is None or len(self.readers[name]) != 1 or name in self.outputs:
            return None
        if node.op_type == "Add":
            return self.summand(node)
        return node if node.op_type == "Conv" and self._is_constant(node) else None

    def summand(self, add: onnx.NodeProto) -> onnx.NodeProto | None:
        """The first convolution whose answer is added there and read by nobody else."""
        written = (self.writer.get(name) for name in add.input)
        alone = (
            node
            for node in written
            if node is not None and node.op_type == "Conv" and self.bias_of(node.output[0]) is node
        )
        return next(alone, None)

    def can_be_undone(self, name: str) -> bool:
        """Whether biases can undo the move for all that read the map."""
        readers = self.readers[name]
        return (
            bool(readers)
            and name not in self.outputs
            and all(
                (node.op_type == "Conv" and _reads_no_margin(node) and self._is_constant(node))
                or (node.op_type == "Add" and self.summand(node) is not None)
                or (node.op_type == "MaxPool" and self.can_be_undone(node.output[0]))
                for node in readers
            )
        )

    def _is_constant(self, conv: onnx.NodeProto) -> bool:
        return all(name in self.constants for name in conv.input[1:])

    def undo_behind(self, name: str, offset: float, in_int8: Collection[str], highest_weight: int) -> None:
        """Add the offset to what is made of the map."""
        for node in self.readers[name]:
            if node.op_type == "Conv":
                weights = numpy_helper.to_array(self.constants[node.input[1]]).astype(np.float64)
                if node.name in in_int8:
                    weights = nearest_on_grid(weights, highest_weight)
                self.add_to_bias(node, offset * weights.sum(axis=(1, 2, 3)))
            elif node.op_type == "Add":
                self.add_to_bias(self.summand(node), np.float64(offset))
            else:
                self.undo_behind(node.output[0], offset, in_int8, highest_weight)

    def add_to_bias(self, conv: onnx.NodeProto | None, value: npt.NDArray[np.float64] | np.float64) -> None:
        """Until `write_biases`, in the precision that long sums need."""
        assert conv is not None  # only movable maps are moved
        self.added[conv.name] = self.added.get(conv.name, np.zeros(1)) + value

    def write_biases(self) -> None:
        """One of its own for each convolution that was given something."""
        for node in self.model.graph.node:
            if node.name in self.added:
                weight, *bias = (numpy_helper.to_array(self.constants[name]) for name in node.input[1:])
                moved = sum(bias, np.zeros(len(weight))) + self.added[node.name]
                del node.input[2:]
                node.input.append(f"{node.name}_moved_bias")
                written = numpy_helper.from_array(moved.astype(np.float32), node.input[2])
                self.model.graph.initializer.append(written)


def nearest_on_grid(weights: npt.NDArray[np.float64], highest: int) -> npt.NDArray[np.float64]:
    """Weights [O, …] as a quantiser rounds them, whose step by output channel comes from the largest."""
    step = np.abs(weights).max(axis=tuple(range(1, weights.ndim)), keepdims=True).clip(1e-12) / highest
    rounded: npt.NDArray[np.float64] = np.rint(weights / step) * step
    return rounded


def _reads_no_margin(conv: onnx.NodeProto) -> bool:
    attributes = {each.name: each for each in conv.attribute}
    padded = "pads" in attributes and any(attributes["pads"].ints)
    return not padded and "auto_pad" not in attributes

"""Asymmetric INT8 ranges behind ReLUs, folded into biases: 8 bits instead of 7 at no cost in serving.

Symmetric INT8 leaves half of its levels unused for an activation that is never negative. TensorRT takes no
zero point but 0, so the activation itself is shifted down by 128 scales: it then fills [-128, 127], the lower
end of the clipping range does what the ReLU did, and biases before and behind it undo the shift. That changes
no answer as long as no reader pads the activation with zeros.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from deepfake_triton.models.graph_partition import network_nodes


def shiftable_activations(model: onnx.ModelProto) -> set[str]:
    """Return the tensors behind ReLUs of a graph's network whose shift can be folded into biases."""
    graph = _Graph(model)
    return {
        node.output[0]
        for node in network_nodes(model)
        if node.op_type == "Relu"
        and graph.bias_owner(node.input[0]) is not None
        and graph.can_compensate(node.output[0])
    }


def shift_zero_point(
    model: onnx.ModelProto,
    shifts: Mapping[str, float],
    *,
    int8_nodes: Collection[str],
    weight_qmax: int,
) -> None:
    """Subtract a constant from activations, in place, and compensate for it in biases.

    `shifts` are the constants by tensor name. A ReLU of `int8_nodes` (names) is removed, because the clipping
    range behind it does the same; any other becomes a Clip. Convolutions of `int8_nodes` get the biases that
    fit their weights as quantized to `weight_qmax`. The shift of a sum goes into the bias of a convolution
    that writes a summand, which is one of `activations_kept_float`.
    """
    graph = _Graph(model)
    for name, shift in shifts.items():
        relu = graph.writer[name]
        before = relu.input[0]
        graph.add_to_bias(graph.bias_owner(before), np.float64(-shift))
        graph.compensate(name, shift, int8_nodes=int8_nodes, weight_qmax=weight_qmax)
        if relu.name in int8_nodes and graph.writer[before].name in int8_nodes:
            graph.writer[before].output[0] = name
            model.graph.node.remove(relu)
        else:
            relu.op_type = "Clip"
            relu.input.append(f"{name}_lowest")
            lowest = np.array(np.float32(-shift))
            model.graph.initializer.append(numpy_helper.from_array(lowest, f"{name}_lowest"))
    graph.write_biases()


def activations_kept_float(model: onnx.ModelProto) -> set[str]:
    """Return the tensors that need no quantization.

    Of each sum, that is the output of one convolution that nothing else reads (engines add it before they
    round); and at the end of the network what only a global average pooling reads.
    """
    graph = _Graph(model)
    nodes = network_nodes(model)
    summands = (graph.conv_summand(node) for node in nodes if node.op_type == "Add")
    found = {conv.output[0] for conv in summands if conv is not None}
    for node in nodes:
        if node.op_type == "GlobalAveragePool" and graph.writer[node.input[0]].op_type == "Relu":
            names = (node.input[0], graph.writer[node.input[0]].input[0])
            if all(len(graph.readers[name]) == 1 for name in names):
                found |= set(names)
    return found


def quantize_to_nearest(weights: npt.NDArray[np.float64], *, qmax: int) -> npt.NDArray[np.float64]:
    """Return weights [O, …] rounded to the nearest level, with one scale by output channel (max / `qmax`)."""
    largest = np.abs(weights).max(axis=tuple(range(1, weights.ndim)), keepdims=True)
    scale = largest.clip(1e-12) / qmax
    rounded: npt.NDArray[np.float64] = np.rint(weights / scale) * scale
    return rounded


class _Graph:
    """Writer and readers of each tensor of a graph, and biases that are being changed."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = model
        self.writer = {name: node for node in model.graph.node for name in node.output}
        self.readers: dict[str, list[onnx.NodeProto]] = defaultdict(list)
        for node in model.graph.node:
            for name in node.input:
                self.readers[name].append(node)
        self.constants = {tensor.name: tensor for tensor in model.graph.initializer}
        self.outputs = {output.name for output in model.graph.output}
        self.bias_changes: dict[str, npt.NDArray[np.float64]] = {}

    def bias_owner(self, name: str) -> onnx.NodeProto | None:
        """The convolution whose bias shifts this tensor and nothing else: its writer, or a summand's."""
        node = self.writer.get(name)
        if node is None or len(self.readers[name]) != 1 or name in self.outputs:
            return None
        if node.op_type == "Add":
            return self.conv_summand(node)
        return node if node.op_type == "Conv" and self._has_constant_weights(node) else None

    def conv_summand(self, add: onnx.NodeProto) -> onnx.NodeProto | None:
        """The first convolution whose output is added there and read by nothing else."""
        writers = (self.writer.get(name) for name in add.input)
        convolutions = (
            node
            for node in writers
            if node is not None and node.op_type == "Conv" and self.bias_owner(node.output[0]) is node
        )
        return next(convolutions, None)

    def can_compensate(self, name: str) -> bool:
        """Whether biases can undo the shift for all readers of the tensor."""
        readers = self.readers[name]
        return (
            bool(readers)
            and name not in self.outputs
            and all(
                (node.op_type == "Conv" and not _is_padded(node) and self._has_constant_weights(node))
                or (node.op_type == "Add" and self.conv_summand(node) is not None)
                or (node.op_type == "MaxPool" and self.can_compensate(node.output[0]))
                for node in readers
            )
        )

    def compensate(self, name: str, shift: float, *, int8_nodes: Collection[str], weight_qmax: int) -> None:
        """Undo the shift behind the tensor."""
        for node in self.readers[name]:
            if node.op_type == "Conv":
                weights = numpy_helper.to_array(self.constants[node.input[1]]).astype(np.float64)
                if node.name in int8_nodes:
                    weights = quantize_to_nearest(weights, qmax=weight_qmax)
                self.add_to_bias(node, shift * weights.sum(axis=(1, 2, 3)))
            elif node.op_type == "Add":
                self.add_to_bias(self.conv_summand(node), np.float64(shift))
            else:
                self.compensate(node.output[0], shift, int8_nodes=int8_nodes, weight_qmax=weight_qmax)

    def add_to_bias(self, conv: onnx.NodeProto | None, value: npt.NDArray[np.float64] | np.float64) -> None:
        """Collect a change [O] or [] of the bias until `write_biases`, in float64 for long sums."""
        assert conv is not None  # only shiftable activations are shifted
        self.bias_changes[conv.name] = self.bias_changes.get(conv.name, np.zeros(1)) + value

    def write_biases(self) -> None:
        """Give each changed convolution a bias of its own."""
        for node in self.model.graph.node:
            if node.name in self.bias_changes:
                weight, *bias = (numpy_helper.to_array(self.constants[name]) for name in node.input[1:])
                total = sum(bias, np.zeros(len(weight))) + self.bias_changes[node.name]
                del node.input[2:]
                node.input.append(f"{node.name}_shifted_bias")
                tensor = numpy_helper.from_array(total.astype(np.float32), node.input[2])
                self.model.graph.initializer.append(tensor)

    def _has_constant_weights(self, conv: onnx.NodeProto) -> bool:
        return all(name in self.constants for name in conv.input[1:])


def _is_padded(conv: onnx.NodeProto) -> bool:
    attributes = {attribute.name: attribute for attribute in conv.attribute}
    return "auto_pad" in attributes or ("pads" in attributes and any(attributes["pads"].ints))

"""Operations and bytes of an ONNX graph, counted from its file."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
from onnx import helper

from deepfake_triton.benchmarks.measure.roofline import GraphCost
from deepfake_triton.models.runtimes.base import Feed
from deepfake_triton.models.runtimes.onnx_runner import OnnxRunner

_RECURRENT = ("LSTM", "DynamicQuantizeLSTM")
_COUNTED = ("Conv", "ConvTranspose", "MatMul", "Gemm", "MatMulInteger", *_RECURRENT)

Shapes = Mapping[str, tuple[int, ...]]


def graph_cost(model: onnx.ModelProto, feed: Feed) -> GraphCost:
    """Count operations and bytes for these inputs; shapes are those that ONNX Runtime finds.

    Activations are counted as FP32, once for each counted node that reads or writes them.
    """
    shapes = _tensor_shapes(model, feed)
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    operations = sum(_operations(node, shapes) for node in model.graph.node)
    activation_bytes = sum(
        int(np.prod(shapes[name])) * 4
        for node in model.graph.node
        if node.op_type in _COUNTED
        for name in (node.input[0], node.output[0])
        if name in shapes and name not in weights
    )
    weight_bytes = sum(len(onnx.numpy_helper.to_array(tensor).tobytes()) for tensor in weights.values())
    return GraphCost(operations, weight_bytes, activation_bytes)


def _operations(node: onnx.NodeProto, shapes: Shapes) -> int:
    if node.op_type not in _COUNTED or (node.output[0] not in shapes and node.op_type not in _RECURRENT):
        return 0
    attributes = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    if node.op_type in _RECURRENT:
        steps, batch, width = shapes[node.input[0]]
        hidden = int(attributes["hidden_size"])
        return 2 * steps * batch * 4 * hidden * (width + hidden)
    kernel = shapes[node.input[1]]
    if node.op_type == "Conv":
        return 2 * int(np.prod(shapes[node.output[0]])) * int(np.prod(kernel[1:]))
    if node.op_type == "ConvTranspose":
        return 2 * int(np.prod(shapes[node.input[0]])) * int(np.prod(kernel[1:]))
    depth = kernel[-1] if attributes.get("transB") else kernel[-2]
    return 2 * int(np.prod(shapes[node.output[0]])) * int(depth)


def _tensor_shapes(model: onnx.ModelProto, feed: Feed) -> Shapes:
    """Return the shapes of all tensors that a counted node reads or writes, from one run of the graph."""
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    weights = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    computed = {name for node in model.graph.node for name in node.output if name}
    wanted = {
        name
        for node in model.graph.node
        if node.op_type in _COUNTED
        for name in (*node.input[:2], node.output[0])
        if name in computed
    }
    present = {output.name for output in model.graph.output}
    probe.graph.output.extend(onnx.ValueInfoProto(name=name) for name in sorted(wanted - present))
    with tempfile.TemporaryDirectory(prefix="deepfake-triton-bench-") as folder:
        path = Path(folder) / "probe.onnx"
        onnx.save(probe, path)
        outputs = OnnxRunner(path).infer(feed)
    inputs = {name: value.shape for name, value in feed.items()}
    return {**weights, **inputs, **{name: value.shape for name, value in outputs.items()}}

"""Partition of a graph: preprocessing, network and postprocessing, and the network's blocks."""

from __future__ import annotations

import itertools

import onnx

DECODING_PREFIX = "decode_"
"""Prefix of the names of nodes that decode a detector's outputs into boxes."""
_NETWORK_OPERATORS = frozenset(("Conv", "ConvTranspose", "MatMul", "Gemm", "LSTM", "GRU", "RNN"))
_QUANTIZATION_OPERATORS = frozenset(("QuantizeLinear", "DequantizeLinear"))
_NODES_PER_BLOCK = 8
_LEAVES = ("conv", "bn", "relu", "maxpool", "avgpool", "downsample")


def is_quantized(model: onnx.ModelProto) -> bool:
    """Whether the graph holds INT8 nodes."""
    return any(node.op_type in _QUANTIZATION_OPERATORS for node in model.graph.node)


def precision_of(model: onnx.ModelProto) -> str:
    """Return the precision that the graph computes in: int8, fp16 or fp32."""
    if is_quantized(model):
        return "int8"
    half = any(weights.data_type == onnx.TensorProto.FLOAT16 for weights in model.graph.initializer)
    return "fp16" if half else "fp32"


def named_copy(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy in which every node has a name."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for index, node in enumerate(copy.graph.node):
        node.name = node.name or f"node_{index}"
    return copy


def network_nodes(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    """Return the nodes between pre- and postprocessing, i.e. those eligible for reduced precision.

    They begin with the first convolution, product or recurrence. Decoding stays out: pixel coordinates need
    FP32.
    """
    behind: set[str] = set()
    nodes = []
    for node in model.graph.node:
        if node.op_type in _NETWORK_OPERATORS or not behind.isdisjoint(node.input):
            behind.update(node.output)
            if not node.name.startswith(DECODING_PREFIX):
                nodes.append(node)
    return nodes


def group_into_blocks(nodes: list[onnx.NodeProto]) -> dict[str, list[str]]:
    """Group the names of nodes by the torch module that they were exported from, else eight at a time."""
    scoped = [(_scope(node.name), node.name) for node in nodes]
    found: dict[str, list[str]] = {}
    for index, (scope, name) in enumerate(scoped):
        found.setdefault(scope or f"nodes {index // _NODES_PER_BLOCK}", []).append(name)
    return found


def _scope(name: str) -> str:
    """Return the module of a node: `backbone/layer1/layer1.0` for `/backbone/layer1/layer1.0/conv1/Conv`."""
    parts = name.strip("/").split("/")[:-1]
    return "/".join(itertools.takewhile(lambda part: not part.startswith(_LEAVES), parts))

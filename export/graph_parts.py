"""Which nodes of a graph are its network, between the preparation of pictures and the decoding of answers."""

from __future__ import annotations

import itertools

import onnx

DECODING_PREFIX = "decode_"
"""Of the names of nodes that turn a detector's maps into boxes."""
_COMPUTING = frozenset(("Conv", "ConvTranspose", "MatMul", "Gemm", "LSTM", "GRU", "RNN"))
_QUANTISING = frozenset(("QuantizeLinear", "DequantizeLinear"))
_NODES_A_BLOCK = 8
_LEAVES = ("conv", "bn", "relu", "maxpool", "avgpool", "downsample")


def is_quantised(model: onnx.ModelProto) -> bool:
    """Whether the graph computes in INT8 somewhere."""
    return any(node.op_type in _QUANTISING for node in model.graph.node)


def precision_of(model: onnx.ModelProto) -> str:
    """What the graph computes in: int8, fp16 or fp32."""
    if is_quantised(model):
        return "int8"
    half = any(weights.data_type == onnx.TensorProto.FLOAT16 for weights in model.graph.initializer)
    return "fp16" if half else "fp32"


def named_copy(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy in which every node has a name."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for index, node in enumerate(copy.graph.node):
        node.name = node.name or f"node_{index}"
    return copy


def network_nodes(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    """From the first that computes on, without decoding: what may leave FP32. Pixel coordinates may not."""
    behind: set[str] = set()
    nodes = []
    for node in model.graph.node:
        if node.op_type in _COMPUTING or not behind.isdisjoint(node.input):
            behind.update(node.output)
            if not node.name.startswith(DECODING_PREFIX):
                nodes.append(node)
    return nodes


def blocks(nodes: list[onnx.NodeProto]) -> dict[str, list[str]]:
    """Names of nodes by block: by the module that torch says they are of, else eight at a time."""
    scoped = [(_scope(node.name), node.name) for node in nodes]
    found: dict[str, list[str]] = {}
    for index, (scope, name) in enumerate(scoped):
        found.setdefault(scope or f"nodes {index // _NODES_A_BLOCK}", []).append(name)
    return found


def _scope(name: str) -> str:
    """`/backbone/layer1/layer1.0/conv1/Conv` is of `backbone/layer1/layer1.0`."""
    parts = name.strip("/").split("/")[:-1]
    return "/".join(itertools.takewhile(lambda part: not part.startswith(_LEAVES), parts))

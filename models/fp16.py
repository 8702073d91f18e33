"""Convert FP32 graphs to FP16. TensorRT 11 has no flag for it: an engine computes as its graph says."""

from __future__ import annotations

import onnx

from deepfake_triton.errors import EngineError, MissingDependency
from deepfake_triton.models.graph_partition import is_quantized, named_copy, network_nodes

FP32_OPERATORS = ("LSTM", "GRU", "RNN", "TopK", "Resize", "Range", "Min", "Max")
"""Operators kept in FP32: recurrence accumulates rounding errors, and coordinates in px need more than the 11
significant bits of FP16."""


def convert_to_fp16(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the graph with its network in FP16; inputs, outputs, pre- and postprocessing stay as they are.

    Raises EngineError for a quantized graph, MissingDependency without ONNX Runtime, whose converter it uses.
    """
    if is_quantized(model):
        raise EngineError("the graph is INT8 already, and what is not INT8 in it stays FP32; leave out fp16")
    try:
        from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16
        from onnxruntime.transformers.onnx_model import OnnxModel
    except ImportError as error:
        raise MissingDependency(
            "FP16 needs ONNX Runtime: pip install 'deepfake-triton[cpu]' or 'deepfake-triton[openvino]'"
        ) from error
    copy = named_copy(model)
    in_fp16 = {node.name for node in network_nodes(copy)}
    half = convert_float_to_float16(
        copy,
        keep_io_types=True,
        op_block_list=[*DEFAULT_OP_BLOCK_LIST, *FP32_OPERATORS],
        node_block_list=[node.name for node in copy.graph.node if node.name not in in_fp16],
    )
    _remove_fp16_round_trips(half)
    OnnxModel(half).topological_sort()  # the converter puts its casts last
    half.ir_version = model.ir_version
    onnx.checker.check_model(half, full_check=True)
    converted: onnx.ModelProto = half
    return converted


def _remove_fp16_round_trips(model: onnx.ModelProto) -> None:
    """Remove the pairs of casts that the converter puts between two FP32 nodes, which would round to FP16."""
    nodes = model.graph.node
    casts = {node.output[0]: node for node in nodes if node.op_type == "Cast"}
    direct = {
        name: casts[cast.input[0]].input[0]
        for name, cast in casts.items()
        if _target(cast) == onnx.TensorProto.FLOAT
        and cast.input[0] in casts
        and _target(casts[cast.input[0]]) == onnx.TensorProto.FLOAT16
    }
    for node in nodes:
        node.input[:] = [direct.get(name, name) for name in node.input]
    while unread := _unread_casts(model):
        for node in unread:
            nodes.remove(node)


def _unread_casts(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    read = {name for node in model.graph.node for name in node.input}
    read |= {entry.name for entry in model.graph.output}
    return [node for node in model.graph.node if node.op_type == "Cast" and node.output[0] not in read]


def _target(cast: onnx.NodeProto) -> int:
    return next(int(attribute.i) for attribute in cast.attribute if attribute.name == "to")

"""Insert QuantizeLinear/DequantizeLinear (Q/DQ) pairs into an FP32 graph: one file for ONNX Runtime, OpenVINO
and TensorRT.

TensorRT sets the rules: symmetric int8 throughout, one scale by output channel for weights, biases in FP32
(NVIDIA, *TensorRT Developer Guide*, "Working with Quantized Types").
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import onnx

from deepfake_triton.export.quantization.quant_params import QMAX, QuantParams
from deepfake_triton.export.quantization.relu_zero_point import (
    activations_kept_float,
    shift_zero_point,
    shiftable_activations,
)
from deepfake_triton.host.cpu import has_vnni
from deepfake_triton.models.graph_partition import network_nodes

OPERATORS = ("Conv", "Add", "Relu", "MaxPool")
"""Operators that can compute in INT8."""
_REDUCED_QMAX = 64


def weight_qmax() -> int:
    """Return the largest quantized weight: 127, or 64 where this CPU saturates sums of 8-bit products."""
    return QMAX if has_vnni() else _REDUCED_QMAX


def quantizable_nodes(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    """Return the nodes of a graph's network that can compute in INT8."""
    constants = {tensor.name for tensor in model.graph.initializer}
    return [
        node
        for node in network_nodes(model)
        if node.op_type in OPERATORS and not (node.op_type == "Add" and not constants.isdisjoint(node.input))
    ]


def quantizable_activations(model: onnx.ModelProto) -> list[str]:
    """Return the tensors that quantizable nodes read and write, without constants."""
    constants = {tensor.name for tensor in model.graph.initializer}
    nodes = quantizable_nodes(model)
    names = dict.fromkeys(name for node in nodes for name in (*node.input, *node.output))
    return [name for name in names if name and name not in constants]


def insert_qdq(
    model: onnx.ModelProto, params: Mapping[str, QuantParams], *, excluded: Collection[str] = ()
) -> onnx.ModelProto:
    """Return the graph with all quantizable nodes but the `excluded` ones (names) in INT8.

    `params` are those of every activation, by tensor name. All nodes have names.
    """
    from onnxruntime.quantization import QuantType
    from onnxruntime.quantization.calibrate import CalibrationMethod, TensorsData
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

    int8_nodes = [node.name for node in quantizable_nodes(model) if node.name not in excluded]
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    kept_float = activations_kept_float(copy)
    shifts = {name: params[name].shift for name in shiftable_activations(copy) if params[name].zero_point}
    shift_zero_point(copy, shifts, int8_nodes=set(int8_nodes), weight_qmax=weight_qmax())
    limits = {name: np.float32(QMAX * value.scale) for name, value in params.items()}
    ranges = {name: (-limit, limit) for name, limit in limits.items()}
    quantizer: Any = QDQQuantizer(
        copy,
        per_channel=True,
        reduce_range=not has_vnni(),
        weight_qType=QuantType.QInt8,
        activation_qType=QuantType.QInt8,
        tensors_range=TensorsData(CalibrationMethod.MinMax, ranges),
        nodes_to_quantize=int8_nodes,
        nodes_to_exclude=[],
        op_types_to_quantize=list(OPERATORS),
        extra_options={"ActivationSymmetric": True, "WeightSymmetric": True, "QuantizeBias": False},
    )
    quantizer.quantize_model()
    quantizer.model.topological_sort()
    result: onnx.ModelProto = quantizer.model.model
    _remove_qdq(result, kept_float)
    return result


def _remove_qdq(model: onnx.ModelProto, names: set[str]) -> None:
    """Connect the readers of these tensors, in place, to the tensors as they are before rounding."""
    nodes = list(model.graph.node)
    quantize = {node.input[0]: node for node in nodes if node.op_type == "QuantizeLinear"}
    dequantize = {node.input[0]: node for node in nodes if node.op_type == "DequantizeLinear"}
    for name in names & quantize.keys():
        behind = dequantize[quantize[name].output[0]]
        for node in nodes:
            for index, read in enumerate(node.input):
                if read == behind.output[0]:
                    node.input[index] = name
        model.graph.node.remove(quantize[name])
        model.graph.node.remove(behind)
    used = {name for node in model.graph.node for name in node.input}
    for constant in [tensor for tensor in model.graph.initializer if tensor.name not in used]:
        model.graph.initializer.remove(constant)

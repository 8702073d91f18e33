"""Shifted ReLU activations: which can be, the same answers before rounding, smaller errors behind it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from support import run_without_fusions
from torch import Tensor, nn

from deepfake_triton.export.quantization.qdq import insert_qdq, weight_qmax
from deepfake_triton.export.quantization.quant_params import QMAX, QMIN, QuantParams
from deepfake_triton.export.quantization.range_estimation import estimate_activation_ranges
from deepfake_triton.export.quantization.relu_zero_point import (
    activations_kept_float,
    quantize_to_nearest,
    shift_zero_point,
    shiftable_activations,
)
from deepfake_triton.models.graph_partition import network_nodes
from deepfake_triton.models.onnx_export import export_onnx

pytestmark = pytest.mark.compute

FEEDS = [
    {"x": np.random.default_rng(seed).uniform(-1, 1, (4, 3, 16, 16)).astype(np.float32)} for seed in range(3)
]


class Net(nn.Module):
    """A stem, a bottleneck and a head, with weights that INT8 holds."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv2d(3, 16, 3, padding=1)
        self.narrow = nn.Conv2d(16, 8, 1)
        self.grouped = nn.Conv2d(8, 8, 3, padding=1, groups=4)
        self.wide = nn.Conv2d(8, 16, 1)
        self.head = nn.Conv2d(16, 4, 1, bias=False)
        self.pool = nn.AdaptiveAvgPool2d(1)
        with torch.no_grad():  # only activations lose by rounding
            for conv in (self.stem, self.narrow, self.grouped, self.wide, self.head):
                whole = quantize_to_nearest(conv.weight.double().numpy(), qmax=weight_qmax())
                conv.weight.copy_(torch.from_numpy(whole))

    def forward(self, x: Tensor) -> Tensor:
        """[N, 3, H, W] to [N, 4]."""
        stem = functional_pool(self.stem(x).relu())
        inner = self.grouped(self.narrow(stem).relu()).relu()
        features = self.head((self.wide(inner) + stem).relu()).relu()
        return self.pool(features).flatten(1)


def functional_pool(activations: Tensor) -> Tensor:
    return nn.functional.max_pool2d(activations, 3, stride=2, padding=1)


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("net") / "net.onnx"
    axes = {"x": {0: "N"}, "y": {0: "N"}}
    return export_onnx(
        Net().eval(), (torch.zeros(1, 3, 16, 16),), path, inputs=["x"], outputs=["y"], dynamic_axes=axes
    )


def writers(model: onnx.ModelProto, names: set[str]) -> list[str]:
    """Names of the nodes whose ReLU each of these tensors is, in the graph's order."""
    by_output = {node.output[0]: node for node in model.graph.node}
    found = [node for node in model.graph.node if node.output[0] in names]
    return [by_output[node.input[0]].name for node in found]


def test_activations_without_padded_readers_are_shiftable(net: Path) -> None:
    model = onnx.load(net)
    assert writers(model, shiftable_activations(model)) == ["/stem/Conv", "/grouped/Conv", "/Add"]
    assert activations_kept_float(model) == {"/wide/Conv_output_0", "/head/Conv_output_0", "/Relu_4_output_0"}


@pytest.mark.parametrize("in_int8", [False, True])
def test_shifting_changes_no_answer(net: Path, in_int8: bool) -> None:
    model = onnx.load(net)
    names = {node.name for node in network_nodes(model)} if in_int8 else set()
    shifts = dict.fromkeys(shiftable_activations(model), 0.0)
    if not in_int8:  # there, the clipping range does what the ReLU did
        shifts = {name: 0.5 + number for number, name in enumerate(sorted(shifts))}
    shifted = onnx.load(net)
    shift_zero_point(shifted, shifts, int8_nodes=names, weight_qmax=127)
    kinds = Counter(node.op_type for node in shifted.graph.node)
    assert (kinds["Clip"], kinds["Relu"]) == ((0, 2) if in_int8 else (3, 2))
    if not in_int8:
        for feed in FEEDS:
            wanted, got = run_without_fusions(model, feed), run_without_fusions(shifted, feed)
            assert np.abs(wanted - got).max() < 1e-5 * np.abs(wanted).max()


@pytest.mark.parametrize("in_int8", [False, True])
def test_biases_fit_the_weights_that_are_computed_with(net: Path, in_int8: bool) -> None:
    model = onnx.load(net)
    names = {node.name for node in network_nodes(model)} if in_int8 else set()
    (weight,) = (tensor for tensor in model.graph.initializer if tensor.name == "narrow.weight")
    unrounded = numpy_helper.to_array(weight) + np.float32(0.01) * np.arange(16)[:, None, None]
    weight.CopyFrom(numpy_helper.from_array(unrounded, weight.name))
    bias = numpy_helper.to_array(
        next(tensor for tensor in model.graph.initializer if tensor.name == "narrow.bias")
    )
    computed = quantize_to_nearest(unrounded, qmax=127) if in_int8 else unrounded
    assert not in_int8 or np.abs((unrounded - computed).sum(axis=(1, 2, 3))).max() > 1e-3
    (stem,) = (name for name in shiftable_activations(model) if writers(model, {name}) == ["/stem/Conv"])
    shift_zero_point(model, {stem: 3.0}, int8_nodes=names, weight_qmax=127)
    shifted = next(tensor for tensor in model.graph.initializer if tensor.name == "/narrow/Conv_shifted_bias")
    wanted = bias + 3.0 * computed.sum(axis=(1, 2, 3))
    assert numpy_helper.to_array(shifted) == pytest.approx(wanted, abs=1e-5)


def test_zero_points_reduce_the_error(net: Path) -> None:
    model = onnx.load(net)
    params = estimate_activation_ranges(net, FEEDS)
    assert [value.zero_point for value in params.values()].count(QMIN) == 4  # max pooling keeps it
    symmetric = {name: QuantParams(value.clipping_limit / QMAX) for name, value in params.items()}
    errors = []
    for candidate in (params, symmetric):
        quantized = insert_qdq(model, candidate)
        lost = [run_without_fusions(model, feed) - run_without_fusions(quantized, feed) for feed in FEEDS]
        errors.append(float(np.sqrt(np.mean(np.square(lost)))))
    # Weights of 8 bits, on a CPU with VNNI, are others than those of 7.
    assert errors[0] < (0.95 if weight_qmax() == 127 else 0.9) * errors[1]


def test_a_block_in_fp32_between_shifted_activations_answers_the_same(net: Path) -> None:
    model = onnx.load(net)
    params = estimate_activation_ranges(net, FEEDS)
    every = insert_qdq(model, params)
    wide = insert_qdq(model, params, excluded=["/wide/Conv", "/Add", "/Relu_3"])
    kinds = [Counter(node.op_type for node in graph.graph.node) for graph in (every, wide)]
    assert [kind["Clip"] for kind in kinds] == [0, 1]
    assert kinds[0]["DequantizeLinear"] > kinds[1]["DequantizeLinear"]

    def lost(candidate: onnx.ModelProto) -> float:
        return max(
            float(np.abs(run_without_fusions(model, feed) - run_without_fusions(candidate, feed)).max())
            for feed in FEEDS
        )

    assert 0 < lost(wide) < 1.2 * lost(every)

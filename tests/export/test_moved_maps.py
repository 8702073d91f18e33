"""Maps moved to fill the grid of INT8: which can be, the same answers before rounding, better ones behind."""

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

from deepfake_triton.export.graph_parts import network_nodes
from deepfake_triton.export.grid import Grid
from deepfake_triton.export.moved_maps import movable, move, nearest_on_grid, unrounded
from deepfake_triton.export.onnx_graphs import exported_graph
from deepfake_triton.export.quantisation import _with_qdq, highest_weight, int8_nodes, map_grids

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
        with torch.no_grad():  # what is lost is lost of maps
            for conv in (self.stem, self.narrow, self.grouped, self.wide, self.head):
                whole = nearest_on_grid(conv.weight.double().numpy(), highest_weight())
                conv.weight.copy_(torch.from_numpy(whole))

    def forward(self, x: Tensor) -> Tensor:
        """[N, 3, H, W] to [N, 4]."""
        stem = functional_pool(self.stem(x).relu())
        inner = self.grouped(self.narrow(stem).relu()).relu()
        maps = self.head((self.wide(inner) + stem).relu()).relu()
        return self.pool(maps).flatten(1)


def functional_pool(maps: Tensor) -> Tensor:
    return nn.functional.max_pool2d(maps, 3, stride=2, padding=1)


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("net") / "net.onnx"
    axes = {"x": {0: "N"}, "y": {0: "N"}}
    return exported_graph(Net().eval(), (torch.zeros(1, 3, 16, 16),), ["x"], ["y"], axes, path)


def writers(model: onnx.ModelProto, names: set[str]) -> list[str]:
    """What each of these maps is a ReLU of, in the graph's order."""
    by_output = {node.output[0]: node for node in model.graph.node}
    found = [node for node in model.graph.node if node.output[0] in names]
    return [by_output[node.input[0]].name for node in found]


def test_maps_that_nobody_reads_with_a_margin_can_be_moved(net: Path) -> None:
    model = onnx.load(net)
    assert writers(model, movable(model)) == ["/stem/Conv", "/grouped/Conv", "/Add"]
    assert unrounded(model) == {"/wide/Conv_output_0", "/head/Conv_output_0", "/Relu_4_output_0"}


@pytest.mark.parametrize("in_int8", [False, True])
def test_moving_changes_no_answer(net: Path, in_int8: bool) -> None:
    model = onnx.load(net)
    names = {node.name for node in network_nodes(model)} if in_int8 else set()
    offsets = dict.fromkeys(movable(model), 0.0)
    if not in_int8:  # there, the grid does what the ReLU did
        offsets = {name: 0.5 + number for number, name in enumerate(sorted(offsets))}
    moved = onnx.load(net)
    move(moved, offsets, names, 127)
    kinds = Counter(node.op_type for node in moved.graph.node)
    assert (kinds["Clip"], kinds["Relu"]) == ((0, 2) if in_int8 else (3, 2))
    if not in_int8:
        for feed in FEEDS:
            wanted, got = run_without_fusions(model, feed), run_without_fusions(moved, feed)
            assert np.abs(wanted - got).max() < 1e-5 * np.abs(wanted).max()


@pytest.mark.parametrize("in_int8", [False, True])
def test_biases_fit_the_weights_that_are_computed_with(net: Path, in_int8: bool) -> None:
    model = onnx.load(net)
    names = {node.name for node in network_nodes(model)} if in_int8 else set()
    (weight,) = (each for each in model.graph.initializer if each.name == "narrow.weight")
    off_grid = numpy_helper.to_array(weight) + np.float32(0.01) * np.arange(16)[:, None, None]
    weight.CopyFrom(numpy_helper.from_array(off_grid, weight.name))
    bias = numpy_helper.to_array(next(each for each in model.graph.initializer if each.name == "narrow.bias"))
    computed = nearest_on_grid(off_grid, 127) if in_int8 else off_grid
    assert not in_int8 or np.abs((off_grid - computed).sum(axis=(1, 2, 3))).max() > 1e-3
    (stem,) = (name for name in movable(model) if writers(model, {name}) == ["/stem/Conv"])
    move(model, {stem: 3.0}, names, 127)
    moved = next(each for each in model.graph.initializer if each.name == "/narrow/Conv_moved_bias")
    wanted = bias + 3.0 * computed.sum(axis=(1, 2, 3))
    assert numpy_helper.to_array(moved) == pytest.approx(wanted, abs=1e-5)


def test_moved_maps_lose_less(net: Path) -> None:
    model = onnx.load(net)
    names = [node.name for node in int8_nodes(model)]
    grids = map_grids(net, FEEDS)
    assert sum(grid.moved for grid in grids.values()) == 4  # a pooled map stays on its grid
    still = {name: Grid(grid.step * grid.highest / 127) for name, grid in grids.items()}
    errors = []
    for each in (grids, still):
        quantised = _with_qdq(model, each, names, [])
        lost = [run_without_fusions(model, feed) - run_without_fusions(quantised, feed) for feed in FEEDS]
        errors.append(float(np.sqrt(np.mean(np.square(lost)))))
    # Weights of 8 bits, on a CPU with VNNI, are others than those of 7.
    assert errors[0] < (0.95 if highest_weight() == 127 else 0.9) * errors[1]


def test_a_block_in_fp32_between_moved_maps_answers_the_same(net: Path) -> None:
    model = onnx.load(net)
    names = [node.name for node in int8_nodes(model)]
    grids = map_grids(net, FEEDS)
    every = _with_qdq(model, grids, names, [])
    wide = _with_qdq(model, grids, names, ["/wide/Conv", "/Add", "/Relu_3"])
    kinds = [Counter(node.op_type for node in each.graph.node) for each in (every, wide)]
    assert [each["Clip"] for each in kinds] == [0, 1]
    assert kinds[0]["DequantizeLinear"] > kinds[1]["DequantizeLinear"]

    def lost(candidate: onnx.ModelProto) -> float:
        return max(
            float(np.abs(run_without_fusions(model, feed) - run_without_fusions(candidate, feed)).max())
            for feed in FEEDS
        )

    assert 0 < lost(wide) < 1.2 * lost(every)

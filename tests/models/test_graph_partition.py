from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from onnx import parser

from deepfake_triton.models.graph_partition import group_into_blocks, is_quantized, named_copy, network_nodes

pytestmark = pytest.mark.fast


def graph(names: list[str]) -> onnx.ModelProto:
    """Cast, Conv-like product, Relu, and decoding, with those names."""
    model = parser.parse_model(
        """
        <ir_version: 8, opset_import: ["" : 17]>
        whole (uint8[N, 4] x, float[4, 2] w) => (float[N, 2] y) {
          pixels = Cast <to = 1> (x)
          product = MatMul (pixels, w)
          kept = Relu (product)
          y = Exp (kept)
        }
        """
    )
    for node, name in zip(model.graph.node, names, strict=True):
        node.name = name
    return model


def test_preparation_and_decoding_are_not_the_network() -> None:
    model = graph(["", "", "", "decode_exp"])
    assert [node.op_type for node in network_nodes(model)] == ["MatMul", "Relu"]
    named = named_copy(model)
    assert [node.name for node in named.graph.node] == ["node_0", "node_1", "node_2", "decode_exp"]
    assert not is_quantized(model) and model.graph.node[0].name == ""


def test_blocks_are_torchs_modules_or_eight_nodes() -> None:
    model = graph(["/Cast", "/net/layer1/layer1.0/conv1/Conv", "/net/layer1/layer1.0/relu/Relu", "/Exp"])
    assert group_into_blocks(network_nodes(model)) == {
        "net/layer1/layer1.0": [node.name for node in model.graph.node[1:3]],
        "nodes 0": ["/Exp"],
    }
    shortcut = graph(["a", "/net/layer1.0/downsample/downsample.0/Conv", "/net/relu/Relu", "b"])
    assert set(group_into_blocks(network_nodes(shortcut))) == {"net/layer1.0", "net", "nodes 0"}


def test_the_detectors_network_begins_with_a_convolution(detector_path: Path) -> None:
    nodes = network_nodes(onnx.load(detector_path))
    assert nodes[0].op_type == "Conv" and len([node for node in nodes if node.op_type == "Conv"]) == 60
    assert "CastLike" not in {node.op_type for node in onnx.load(detector_path).graph.node}  # for OpenVINO
    assert not {"TopK", "Resize", "GatherElements"} & {node.op_type for node in nodes}

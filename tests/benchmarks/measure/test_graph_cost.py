from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from support import written_graph

from deepfake_triton.benchmarks.measure.graph_cost import graph_cost
from deepfake_triton.benchmarks.measure.roofline import GraphCost, MachineRates

pytestmark = pytest.mark.fast


def cost(text: str, path: Path, **feed: Any) -> tuple[int, int, int]:
    found = graph_cost(onnx.load(written_graph(text, path)), feed)
    return found.operations, found.weight_bytes, found.activation_bytes


def test_a_product_is_counted_by_hand(tmp_path: Path) -> None:
    text = """<ir_version: 8, opset_import: ["" : 17]>
    g (float[N, 3] x) => (float[N, 2] y) <float[3, 2] w = {1, 2, 3, 4, 5, 6}> { y = MatMul(x, w) }"""
    assert cost(text, tmp_path / "a.onnx", x=np.ones((5, 3), np.float32)) == (
        2 * 5 * 3 * 2,
        24,
        4 * (15 + 10),
    )


def test_a_grouped_convolution_is_counted_by_hand(tmp_path: Path) -> None:
    weights = ", ".join(["1"] * 4 * 2 * 3 * 3)
    text = f"""<ir_version: 8, opset_import: ["" : 17]>
    g (float[1, 4, 8, 8] x) => (float[1, 4, 6, 6] y) <float[4, 2, 3, 3] w = {{{weights}}}>
    {{ y = Conv <group = 2> (x, w) }}"""
    operations, _, _ = cost(text, tmp_path / "a.onnx", x=np.ones((1, 4, 8, 8), np.float32))
    assert operations == 2 * (4 * 6 * 6) * (2 * 3 * 3)


def test_the_limit_is_in_milliseconds() -> None:
    rates = MachineRates({"fp32": 2e9, "int8": 8e9}, 1e9)
    graph = GraphCost(operations=4_000_000, weight_bytes=1_000_000, activation_bytes=2_000_000)
    assert rates.memory_ms(graph) == pytest.approx(3)
    assert rates.compute_ms(graph, "fp32") == rates.compute_ms(graph, "fp16") == pytest.approx(2)
    assert rates.compute_ms(graph, "int8") == pytest.approx(0.5)

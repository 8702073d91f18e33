from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from support import written_graph

from deepfake_triton.benchmarks.limit import graph_cost, machine_rates


def cost(text: str, path: Path, **feed: Any) -> tuple[int, int, int]:
    found = graph_cost(onnx.load(written_graph(text, path)), feed)
    return found.operations, found.weight_bytes, found.map_bytes


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


def test_the_machine_has_a_rate() -> None:
    rates = machine_rates()
    assert all(1e9 < rate < 1e15 for rate in rates.operations_a_second.values())
    assert 1e8 < rates.bytes_a_second < 1e13

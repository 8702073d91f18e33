"""The rates of this machine: matrix products by precision, and copies in memory."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper

from deepfake_triton.benchmarks.measure.roofline import MachineRates
from deepfake_triton.benchmarks.measure.timing import interleave
from deepfake_triton.models.runtimes.onnx_runner import OnnxRunner

_SIDE = 1536
_COPY_BYTES = 256 * 2**20
_ROUNDS, _WARM_UP = 15, 2


def measure_machine_rates() -> MachineRates:
    """Return the best rates of several rounds; in FP32, the best of three libraries."""
    single = np.ones((_SIDE, _SIDE), np.float32)
    tensor = torch.from_numpy(single)
    products: dict[str, dict[str, Callable[[], Any]]] = {
        "fp32": {"numpy": lambda: single @ single, "torch": lambda: tensor @ tensor},
        "int8": {},
    }
    rates = {}
    with tempfile.TemporaryDirectory(prefix="deepfake-triton-bench-") as folder:
        for precision, calls in products.items():
            path = Path(folder) / f"{precision}.onnx"
            onnx.save(_product_graph(precision), path)
            dtype = np.float32 if precision == "fp32" else np.uint8
            calls["ONNX Runtime"] = partial(OnnxRunner(path).infer, {"a": np.ones((_SIDE, _SIDE), dtype)})
            timings = interleave(calls, rounds=_ROUNDS, warm_up=_WARM_UP)
            best_ms = min(min(timing.values_ms) for timing in timings.values())
            rates[precision] = 2 * _SIDE**3 / (best_ms / 1000)
    source, target = np.ones(_COPY_BYTES, np.uint8), np.empty(_COPY_BYTES, np.uint8)
    copies = interleave({"copy": partial(np.copyto, target, source)}, rounds=7, warm_up=1)["copy"]
    fastest_s = min(copies.values_ms) / 1000
    return MachineRates(rates, 2 * _COPY_BYTES / fastest_s)


def _product_graph(precision: str) -> onnx.ModelProto:
    """Return a graph of one matrix product, as ONNX Runtime computes it at that precision."""
    shape = [_SIDE, _SIDE]
    if precision == "fp32":
        kind, result = TensorProto.FLOAT, TensorProto.FLOAT
        node, values = helper.make_node("MatMul", ["a", "b"], ["c"]), np.ones(shape, np.float32)
    else:
        kind, result = TensorProto.UINT8, TensorProto.INT32
        node, values = helper.make_node("MatMulInteger", ["a", "b"], ["c"]), np.ones(shape, np.int8)
    graph = helper.make_graph(
        [node],
        "product",
        [helper.make_tensor_value_info("a", kind, shape)],
        [helper.make_tensor_value_info("c", result, shape)],
        [onnx.numpy_helper.from_array(values, "b")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)

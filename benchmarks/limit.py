"""How far each graph is from what the machine can do: operations and bytes against measured rates."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper

from deepfake_triton.benchmarks.samples import by_turns
from deepfake_triton.contracts import DEFAULT_FRAMES, FEATURE_SIZE, FEATURES, FRAMES, faces_spec
from deepfake_triton.export.configs import config_from_text
from deepfake_triton.export.graph_parts import precision_of
from deepfake_triton.export.repository import CONFIG_NAME, ONNX_NAME
from deepfake_triton.export.runners import Feed, OnnxRunner, Provider
from deepfake_triton.export.versions import active_version

_SIDE = 1536
_COPY_BYTES = 256 * 2**20
_ROUNDS, _WARM_UP, _PRODUCT_ROUNDS = 9, 2, 15
_FRAME_HW = (360, 640)
_COMPUTED_IN = {"fp32": "fp32", "fp16": "fp32", "int8": "int8"}
"""CPUs compute FP16 graphs in FP32."""


@dataclass(frozen=True)
class GraphCost:
    """Of one call: multiplications with their additions counted as two, weights and maps in bytes."""

    operations: int
    weight_bytes: int
    map_bytes: int


@dataclass(frozen=True)
class MachineRates:
    """Measured: operations a second in matrix products, by precision, and bytes a second in memory."""

    operations_a_second: dict[str, float]
    bytes_a_second: float


def measure_limits(repository: Path) -> dict[str, Any]:
    """Every graph of the version that is served, on one clip of 20 frames with one face."""
    version = active_version(repository)
    rates = machine_rates()
    found = {}
    for name, feed in _feeds(repository).items():
        model = onnx.load(repository / name / str(version) / ONNX_NAME)
        precision = precision_of(model)
        cost = graph_cost(model, feed)
        runner = served_runner(repository, name)
        measured = by_turns({name: partial(runner.infer, feed)}, _ROUNDS, _WARM_UP)[name]
        compute_ms = 1000 * cost.operations / rates.operations_a_second[_COMPUTED_IN[precision]]
        memory_ms = 1000 * (cost.weight_bytes + cost.map_bytes) / rates.bytes_a_second
        found[name] = {
            "precision": precision,
            "runtime": runner.runtime,
            "giga_operations": round(cost.operations / 1e9, 3),
            "weight_mb": round(cost.weight_bytes / 1e6, 2),
            "map_mb": round(cost.map_bytes / 1e6, 2),
            "measured_ms": round(measured.median_ms, 3),
            "limit_ms": round(max(compute_ms, memory_ms), 3),
            "bound_by": "compute" if compute_ms > memory_ms else "memory",
            "share_of_limit": round(max(compute_ms, memory_ms) / measured.median_ms, 3),
            "samples": measured.as_dict(),
        }
    return {
        "giga_operations_a_second": {
            name: round(value / 1e9, 1) for name, value in rates.operations_a_second.items()
        },
        "gigabytes_a_second": round(rates.bytes_a_second / 1e9, 1),
        "graphs": found,
    }


def served_runner(repository: Path, model: str, provider: Provider | None = None) -> OnnxRunner:
    """A graph of the version that is served, under the runtime that serves it or another provider."""
    path = repository / model / str(active_version(repository)) / ONNX_NAME
    return OnnxRunner(path, provider or _provider(repository / model / CONFIG_NAME))


def machine_rates() -> MachineRates:
    """By the best of several rounds, in FP32 of three libraries: what the machine can do when it is let."""
    single = np.ones((_SIDE, _SIDE), np.float32)
    tensor = torch.from_numpy(single)
    with tempfile.TemporaryDirectory() as folder:
        products: dict[str, dict[str, Callable[[], Any]]] = {
            "fp32": {"numpy": lambda: single @ single, "torch": lambda: tensor @ tensor},
            "int8": {},
        }
        for precision, own in products.items():
            path = Path(folder) / f"{precision}.onnx"
            onnx.save(_product(precision), path)
            kind = np.float32 if precision == "fp32" else np.uint8
            own["ONNX Runtime"] = partial(OnnxRunner(path).infer, {"a": np.ones((_SIDE, _SIDE), kind)})
        rates = {}
        for precision, own in products.items():
            times = by_turns(own, _PRODUCT_ROUNDS, _WARM_UP)
            best_ms = min(min(each.values_ms) for each in times.values())
            rates[precision] = 2 * _SIDE**3 / (best_ms / 1000)
    source, target = np.ones(_COPY_BYTES, np.uint8), np.empty(_COPY_BYTES, np.uint8)
    copies = by_turns({"copy": partial(np.copyto, target, source)}, rounds=7, warm_up=1)["copy"]
    fastest_s = min(copies.values_ms) / 1000
    return MachineRates(rates, 2 * _COPY_BYTES / fastest_s)


def graph_cost(model: onnx.ModelProto, feed: Feed) -> GraphCost:
    """Counted from the file, for these inputs; shapes are those that ONNX Runtime finds."""
    shapes = _shapes(model, feed)
    weights = {each.name: each for each in model.graph.initializer}
    operations = sum(_operations(node, shapes) for node in model.graph.node)
    map_bytes = sum(
        int(np.prod(shapes[name])) * 4
        for node in model.graph.node
        if node.op_type in _COUNTED
        for name in (node.input[0], node.output[0])
        if name in shapes and name not in weights
    )
    weight_bytes = sum(len(onnx.numpy_helper.to_array(each).tobytes()) for each in weights.values())
    return GraphCost(operations, weight_bytes, map_bytes)


_COUNTED = ("Conv", "ConvTranspose", "MatMul", "Gemm", "LSTM", "MatMulInteger", "DynamicQuantizeLSTM")


def _operations(node: onnx.NodeProto, shapes: dict[str, tuple[int, ...]]) -> int:
    if node.op_type not in _COUNTED or (
        node.output[0] not in shapes and node.op_type not in ("LSTM", "DynamicQuantizeLSTM")
    ):
        return 0
    attributes = {each.name: helper.get_attribute_value(each) for each in node.attribute}
    if node.op_type in ("LSTM", "DynamicQuantizeLSTM"):
        steps, batch, width = shapes[node.input[0]]
        hidden = int(attributes["hidden_size"])
        return 2 * steps * batch * 4 * hidden * (width + hidden)
    kernel = shapes[node.input[1]]
    if node.op_type == "Conv":
        return 2 * int(np.prod(shapes[node.output[0]])) * int(np.prod(kernel[1:]))
    if node.op_type == "ConvTranspose":
        return 2 * int(np.prod(shapes[node.input[0]])) * int(np.prod(kernel[1:]))
    depth = kernel[-1] if attributes.get("transB") else kernel[-2]
    return 2 * int(np.prod(shapes[node.output[0]])) * int(depth)


def _shapes(model: onnx.ModelProto, feed: Feed) -> dict[str, tuple[int, ...]]:
    """Of everything that a counted node reads or writes."""
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    weights = {each.name: tuple(each.dims) for each in model.graph.initializer}
    made = {name for node in model.graph.node for name in node.output if name}
    wanted = {
        name
        for node in model.graph.node
        if node.op_type in _COUNTED
        for name in (*node.input[:2], node.output[0])
        if name in made
    }
    present = {each.name for each in model.graph.output}
    probe.graph.output.extend(onnx.ValueInfoProto(name=name) for name in sorted(wanted - present))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "probe.onnx"
        onnx.save(probe, path)
        outputs = OnnxRunner(path).infer(feed)
    fed = {name: value.shape for name, value in feed.items()}
    return {**weights, **fed, **{name: value.shape for name, value in outputs.items()}}


def _product(precision: str) -> onnx.ModelProto:
    """One matrix product, as ONNX Runtime computes it at that precision."""
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


def _feeds(repository: Path) -> dict[str, Feed]:
    extractor = config_from_text((repository / "feature_extractor" / CONFIG_NAME).read_text())
    side = int(extractor.input[0].dims[1])
    return {
        "face_detector": {FRAMES.name: np.zeros((DEFAULT_FRAMES, *_FRAME_HW, 3), np.uint8)},
        "feature_extractor": {faces_spec(side).name: np.zeros((1, DEFAULT_FRAMES, side, side, 3), np.uint8)},
        "sequence_classifier": {FEATURES.name: np.zeros((1, DEFAULT_FRAMES, FEATURE_SIZE), np.float32)},
    }


def _provider(config: Path) -> Provider:
    accelerators = config_from_text(config.read_text()).optimization.execution_accelerators
    names = [each.name for each in accelerators.cpu_execution_accelerator]
    return "openvino" if "openvino" in names else "cpu"

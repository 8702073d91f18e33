"""Estimate the clipping range of every activation: the range that INT8 holds, beyond which values saturate.

The range is the candidate that minimizes the quantization error over a histogram of the activation's absolute
values, as the MSE range estimators of nncf and Olive do with another error measure.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx

from deepfake_triton.console.progress import track_progress
from deepfake_triton.export.quantization.qdq import quantizable_activations
from deepfake_triton.export.quantization.quant_params import (
    QMIN,
    ConvQuantParams,
    QuantParams,
    from_clipping_limit,
)
from deepfake_triton.export.quantization.relu_zero_point import shiftable_activations
from deepfake_triton.models.graph_partition import network_nodes
from deepfake_triton.models.runtimes.base import Feed
from deepfake_triton.models.runtimes.onnx_runner import OnnxRunner

CLIPPING_CANDIDATES = np.geomspace(0.05, 1, 64)
"""Upper ends of the clipping range that are tried, as shares of an activation's largest absolute value."""
ERROR_POWER = 3
"""Exponent of the quantization error that is minimized. Squares clip more than cubes do, which inputs unlike
the calibration data pay for."""
DEEP_MARGIN = 2.0
"""Factor of the ranges in the second half of the extractor. Calibration faces are real ones, and what it has
learned to see in forged faces excites deep layers more: ranges that fit real faces would cut it off."""
_HISTOGRAM_BINS = 2048
_SAMPLED_VALUES = 2**19
"""Values of an activation that its histogram is made of; its largest value is that of all."""


@dataclass(frozen=True)
class Histogram:
    """Counts [B] of an activation's absolute values between `edges` [B + 1]."""

    counts: npt.NDArray[np.int64]
    edges: npt.NDArray[np.float32]


def estimate_activation_ranges(graph: Path, feeds: Sequence[Feed]) -> dict[str, QuantParams]:
    """Return the quantization parameters of every quantizable activation of the graph, by tensor name.

    `feeds` are the calibration batches. Activations behind a ReLU whose shift can be folded into biases get
    the zero point QMIN, all others 0.
    """
    model = onnx.load(graph)
    shiftable = shiftable_activations(model)
    params = {
        name: choose_clipping_range(histogram, zero_point=QMIN if name in shiftable else 0)
        for name, histogram in _histograms(model, feeds).items()
    }
    for node in network_nodes(model):
        if node.op_type == "MaxPool":  # a maximum of quantized values needs no rounding
            params[node.output[0]] = params[node.input[0]]
    return params


def widen_deep_ranges(
    graph: Path, params: Mapping[str, QuantParams], *, margin: float = DEEP_MARGIN
) -> dict[str, QuantParams]:
    """Return the parameters with wider ranges for what the second half of the convolutions, and all behind
    the first of them, write."""
    nodes = network_nodes(onnx.load(graph))
    convolutions = [index for index, node in enumerate(nodes) if node.op_type == "Conv"]
    first = convolutions[len(convolutions) // 2]
    deep = {name for node in nodes[first:] for name in node.output}
    return {
        name: replace(value, scale=margin * value.scale) if name in deep else value
        for name, value in params.items()
    }


def choose_clipping_range(histogram: Histogram, *, zero_point: int) -> QuantParams:
    """Return the parameters with the clipping range that loses least of an activation."""
    counts, edges = histogram.counts, histogram.edges
    values = (edges[1:].astype(np.float64) + edges[:-1]) / 2
    limits = CLIPPING_CANDIDATES * max(float(edges[-1]), 1e-12)
    levels = from_clipping_limit(1.0, zero_point=zero_point).positive_levels
    scales = limits[:, None] / levels
    errors = np.abs(np.minimum(np.rint(values / scales), levels) * scales - values)
    best = (errors**ERROR_POWER * counts).sum(axis=1).argmin()
    return from_clipping_limit(float(limits[best]), zero_point=zero_point)


def conv_quant_params(graph: Path, params: Mapping[str, QuantParams]) -> list[ConvQuantParams]:
    """Return the parameters of every convolution's input and output, in the graph's order."""
    convolutions = [node for node in network_nodes(onnx.load(graph)) if node.op_type == "Conv"]
    return [ConvQuantParams(params[conv.input[0]], params[conv.output[0]]) for conv in convolutions]


def _histograms(model: onnx.ModelProto, feeds: Sequence[Feed]) -> dict[str, Histogram]:
    """Return the histogram of each activation, by tensor name."""
    names = quantizable_activations(model)
    largest = dict.fromkeys(names, 0.0)
    samples: dict[str, list[npt.NDArray[np.float32]]] = {name: [] for name in names}
    budget = max(1, _SAMPLED_VALUES // max(1, len(feeds)))
    with tempfile.TemporaryDirectory(prefix="deepfake-triton-") as folder:
        path = Path(folder) / "activations.onnx"
        onnx.save(_with_outputs(model, names), str(path))
        runner = OnnxRunner(path)
        for feed in track_progress(feeds, "estimating activation ranges", "batches"):
            outputs = runner.infer(feed)
            for name in names:
                values = outputs[name].reshape(-1)
                largest[name] = max(largest[name], float(values.max()), -float(values.min()))
                samples[name].append(np.abs(values[:: values.size // budget | 1]))
    return {
        name: Histogram(
            *np.histogram(np.concatenate(samples[name]), _HISTOGRAM_BINS, (0.0, max(largest[name], 1e-12)))
        )
        for name in names
    }


def _with_outputs(model: onnx.ModelProto, names: Sequence[str]) -> onnx.ModelProto:
    """Return a copy of the graph that outputs these tensors as well."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    known = {value.name for value in copy.graph.output}
    copy.graph.output.extend(
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)
        for name in names
        if name not in known
    )
    return copy

"""INT8 graphs of small networks whose weak block is known, and of the project's own."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import nn

from deepfake_triton.errors import CalibrationError
from deepfake_triton.export.quantization.ptq import quantize_lstm, quantize_with_sensitivity
from deepfake_triton.export.quantization.range_estimation import estimate_activation_ranges
from deepfake_triton.export.tensorrt.builder import EngineOptions, build_engine
from deepfake_triton.models.graph_partition import is_quantized
from deepfake_triton.models.runtimes.base import Runner
from deepfake_triton.models.runtimes.onnx_runner import OnnxRunner
from deepfake_triton.models.runtimes.tensorrt_library import load_tensorrt
from deepfake_triton.repository.engine_record import ShapeProfile
from deepfake_triton.repository.report_sections import QuantizationReport

pytestmark = pytest.mark.compute

FEEDS = [
    {"x": np.random.default_rng(seed).uniform(-1, 1, (4, 3, 16, 16)).astype(np.float32)} for seed in range(4)
]


class Net(nn.Module):
    """Two blocks; the second has a channel with a thousand times the range of the others."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.easy = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU())
        hard, last = nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 2, 1)
        with torch.no_grad():
            hard.weight[0] *= 1000
            last.weight[:, 0] /= 1000
        self.hard, self.last = nn.Sequential(hard, nn.ReLU()), nn.Sequential(last)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.last(self.hard(self.easy(x))).mean(dim=(2, 3))
        return result


class Chain(nn.Module):
    """Blocks one behind the other."""

    def __init__(self, blocks: nn.ModuleDict) -> None:
        super().__init__()
        self.blocks = blocks

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for block in self.blocks.values():
            x = block(x)
        return x.mean(dim=(2, 3))


def export_small(module: nn.Module, path: Path) -> Path:
    torch.onnx.export(
        module.eval(), (torch.zeros(1, 3, 16, 16),), str(path), input_names=["x"], output_names=["y"],
        dynamic_axes={"x": {0: "N"}, "y": {0: "N"}}, opset_version=17, dynamo=False,
    )  # fmt: skip
    return path


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_small(Net(), tmp_path_factory.mktemp("net") / "net.onnx")


def quantize(net: Path, limit: float, output: Path) -> QuantizationReport:
    wanted = [OnnxRunner(net).infer(feed)["y"] for feed in FEEDS]

    def difference(runner: Runner) -> float:
        got = [runner.infer(feed)["y"] for feed in FEEDS]
        return float(np.mean([np.abs(a - b).mean() for a, b in zip(wanted, got, strict=True)]))

    params = estimate_activation_ranges(net, FEEDS)
    return quantize_with_sensitivity(
        net, params, output, start=OnnxRunner, difference=difference, limit=limit
    )


def test_the_block_that_costs_most_stays_in_fp32(
    net: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    everything = quantize(net, 1e9, tmp_path / "all.onnx")
    assert capsys.readouterr().out == ""
    assert everything.kept_in_fp32 == () and everything.sensitivity == {}  # nothing had to be ranked
    careful = quantize(net, 0.5 * everything.difference, tmp_path / "most.onnx")
    assert careful.difference <= careful.limit == 0.5 * everything.difference
    worst = next(iter(careful.sensitivity))
    assert careful.kept_in_fp32[0] == worst == max(careful.sensitivity, key=careful.sensitivity.__getitem__)
    assert len(careful.kept_in_fp32) < len(careful.sensitivity)
    linear = [Counter(node.op_type for node in onnx.load(tmp_path / name).graph.node)["QuantizeLinear"]
              for name in ("all.onnx", "most.onnx")]  # fmt: skip
    assert linear[0] > linear[1] > 0


def test_no_more_blocks_than_needed_are_reverted_in_few_trials(tmp_path: Path) -> None:
    torch.manual_seed(0)
    blocks = nn.ModuleDict({f"block{i}": nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU()) for i in range(9)})
    path = export_small(Chain(blocks), tmp_path / "chain.onnx")
    params = estimate_activation_ranges(path, FEEDS)
    trials = []

    def start(trial: Path) -> Runner:
        trials.append(Counter(node.op_type for node in onnx.load(trial).graph.node))
        return OnnxRunner(trial)

    def difference(_: Runner) -> float:  # every block costs 1: each has weights that are dequantized
        quantized = trials[-1]["DequantizeLinear"] - trials[-1]["QuantizeLinear"]
        return float(quantized)

    for limit in range(1, 9):
        trials.clear()
        report = quantize_with_sensitivity(
            path, params, tmp_path / "int8.onnx", start=start, difference=difference, limit=limit
        )
        assert len(report.kept_in_fp32) == 9 - limit and report.difference == limit
        blocks_ranked = len(report.sensitivity)
        assert len(trials) <= 1 + blocks_ranked + blocks_ranked.bit_length()
        written = Counter(node.op_type for node in onnx.load(tmp_path / "int8.onnx").graph.node)
        assert written["DequantizeLinear"] - written["QuantizeLinear"] == limit


def test_an_impossible_limit_is_refused(net: Path, tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match="in FP32 still differs by"):
        quantize(net, -1.0, tmp_path / "none.onnx")
    assert not (tmp_path / "none.onnx").exists()


def test_quantization_is_symmetric_by_channel_and_compiles(net: Path, tmp_path: Path) -> None:
    path = tmp_path / "int8.onnx"
    quantize(net, 1e9, path)
    model = onnx.load(path)
    assert is_quantized(model) and model.ir_version == 8
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    scales = set()
    for node in model.graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            zero = constants[node.input[2]]
            assert zero.dtype == np.int8 and not zero.any()
            scales.add(constants[node.input[1]].size)
    assert {1, 8, 2} <= scales  # of activations, and of each convolution's channels
    profile = {"x": ShapeProfile((1, 3, 16, 16), (4, 3, 16, 16), (8, 3, 16, 16))}
    record = build_engine(
        path,
        tmp_path / "int8.plan",
        load_tensorrt("tensorrt-rtx"),
        options=EngineOptions(compute_capability="8.0", profiles=profile),
    )
    assert record.precision == "int8"


def test_an_lstm_in_int8_answers_as_in_fp32(tmp_path: Path) -> None:
    torch.manual_seed(0)
    lstm = nn.LSTM(64, 128, batch_first=True)
    path = tmp_path / "lstm.onnx"
    torch.onnx.export(
        lstm, (torch.zeros(1, 2, 64),), str(path), input_names=["x"], output_names=["y", "h", "c"],
        dynamic_axes={"x": {0: "B", 1: "T"}}, opset_version=17, dynamo=False,
    )  # fmt: skip
    quantize_lstm(path, tmp_path / "int8.onnx")
    feed = {"x": np.random.default_rng(0).standard_normal((3, 7, 64)).astype(np.float32)}
    wanted, got = (OnnxRunner(graph).infer(feed)["y"] for graph in (path, tmp_path / "int8.onnx"))
    assert 0 < np.abs(wanted - got).max() < 0.05
    assert (tmp_path / "int8.onnx").stat().st_size < 0.35 * path.stat().st_size

"""Runners of one network on one device: torch eager and compiled, ONNX Runtime, TensorRT-RTX."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any, Literal

import onnx
import torch

from deepfake_triton.benchmarks.measure.networks import Network
from deepfake_triton.export.tensorrt.builder import EngineOptions, build_engine
from deepfake_triton.models.fp16 import convert_to_fp16
from deepfake_triton.models.runtimes.base import Feed, Runner
from deepfake_triton.models.runtimes.onnx_runner import OnnxRunner, Provider
from deepfake_triton.models.runtimes.tensorrt_library import load_tensorrt
from deepfake_triton.models.runtimes.tensorrt_runner import TensorRTRunner
from deepfake_triton.repository.engine_record import ShapeProfile

Device = Literal["cuda", "cpu"]
Precision = Literal["fp32", "fp16"]
_OPTIMAL_BATCH = 32


class TorchModule:
    """A module under torch, eager or compiled, from arrays to arrays; FP16 by torch's autocast."""

    def __init__(self, network: Network, device: Device, precision: Precision, *, compiled: bool) -> None:
        assert network.module is not None, "only a graph is at hand"
        module = network.module.to(device)
        self._call: Callable[..., Any] = torch.compile(module) if compiled else module
        self._network, self._device, self._precision = network, device, precision

    @property
    def runtime(self) -> str:
        """See Runner."""
        return f"torch {torch.__version__}, {self._device}"

    def infer(self, feed: Feed) -> Feed:
        """See Runner."""
        tensor = torch.from_numpy(feed[self._network.input]).to(self._device)
        half = self._precision == "fp16"
        autocast = torch.autocast(self._device, torch.float16) if half else nullcontext()
        with torch.inference_mode(), autocast:
            output = self._call(tensor)
        last = output[-1] if isinstance(output, tuple) else output
        return {self._network.output: last.float().cpu().numpy()}


RunnerFactory = Callable[[Network, Precision, Path], Runner]
"""A function from a network, a precision and a folder for files to a runner."""


def runner_factories(device: Device, largest_batch: int) -> dict[str, RunnerFactory]:
    """Return a factory for each runtime by its name; they raise DeepfakeError or RuntimeError."""
    provider: Provider = "cuda" if device == "cuda" else "cpu"

    def torch_module(network: Network, precision: Precision, _: Path, *, compiled: bool) -> Runner:
        return TorchModule(network, device, precision, compiled=compiled)

    def onnxruntime(network: Network, precision: Precision, folder: Path) -> Runner:
        if precision == "fp32":
            return OnnxRunner(network.graph, provider)
        path = folder / f"{network.name}-fp16.onnx"
        onnx.save(convert_to_fp16(onnx.load(network.graph)), path)
        return OnnxRunner(path, provider)

    def tensorrt_rtx(network: Network, precision: Precision, folder: Path) -> Runner:
        library, engine = load_tensorrt("tensorrt-rtx"), folder / f"{network.name}-{precision}.plan"
        optimal = min(_OPTIMAL_BATCH, largest_batch)
        shapes = [(batch, *network.rows.shape[1:]) for batch in (1, optimal, largest_batch)]
        profiles = {network.input: ShapeProfile(*shapes)}
        build_engine(network.graph, engine, library, options=EngineOptions(precision, profiles=profiles))
        return TensorRTRunner(engine, library)

    return {
        "torch eager": partial(torch_module, compiled=False),
        "torch.compile": partial(torch_module, compiled=True),
        "ONNX Runtime": onnxruntime,
        "TensorRT-RTX": tensorrt_rtx,
    }


def torch_device_name(device: Device) -> str:
    """Return the device's name for reports."""
    return torch.cuda.get_device_name(0) if device == "cuda" else "CPU"


def allow_tf32() -> None:
    """Let torch multiply FP32 in TF32, as ONNX Runtime does on its own, and choose its fastest kernels."""
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.allow_tf32 = torch.backends.cudnn.benchmark = True

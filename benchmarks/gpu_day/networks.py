"""`networks`: each network by itself, input and output on the GPU, by torch and ONNX Runtime."""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any, Literal

import numpy as np
import torch

from deepfake_triton.benchmarks.baselines.repositories import read_served_version
from deepfake_triton.benchmarks.gpu_day.known_clip import read_known_clip
from deepfake_triton.benchmarks.gpu_day.lines import FigureLines
from deepfake_triton.benchmarks.measure.batch_sizes import MAX_DIFFERENCE
from deepfake_triton.benchmarks.measure.device_runtimes import allow_tf32
from deepfake_triton.benchmarks.measure.environment import read_environment
from deepfake_triton.benchmarks.measure.networks import Network, load_graphs, load_networks
from deepfake_triton.benchmarks.measure.timing import Timing
from deepfake_triton.cli_types import comma_separated, integer
from deepfake_triton.contracts import DEFAULT_FRAMES
from deepfake_triton.errors import DeepfakeError, InputError
from deepfake_triton.models.runtimes.onnx_runner import OnnxRunner
from deepfake_triton.models.stages import MODEL_NAMES, Stages

SUMMARY = "time each network by itself, under torch and ONNX Runtime"
CUDA_VARIANTS = {
    "ONNX Runtime": {"cudnn_conv_algo_search": "HEURISTIC"},
    "ONNX Runtime NHWC": {"cudnn_conv_algo_search": "HEURISTIC", "prefer_nhwc": "1"},
    "ONNX Runtime exhaustive": {"cudnn_conv_algo_search": "EXHAUSTIVE"},
}
"""Options of the CUDA execution provider by the runtime's name in the figures; the first is served."""
RUNTIMES = ("torch eager", "torch.compile", *CUDA_VARIANTS)
Precision = Literal["fp32", "fp16"]
_WARM_UP = 3
_MAX_REASON_CHARACTERS = 300


@dataclass(frozen=True)
class DeviceCall:
    """A network with its input on the device: `call` enqueues one run, `wait` returns once it is done, and
    `answer` brings the output to the host as FP32."""

    call: Callable[[], object]
    wait: Callable[[], object]
    answer: Callable[[], Any]


@dataclass(frozen=True)
class _Case:
    """A runtime of RUNTIMES at a precision, on a device, timed so many times."""

    runtime: str
    precision: Precision
    device: str
    rounds: int


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `networks`."""
    parser.add_argument(
        "repository", type=Path, help="an export; of one in FP32, torch is timed too, in both precisions"
    )
    parser.add_argument("clip", type=Path, help="what `clip` wrote")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE.jsonl", help="figures, appended")
    parser.add_argument("--checkpoint", type=Path, metavar="FILE", help="(default: the shipped weights)")
    parser.add_argument(
        "--frames",
        type=comma_separated(integer(1)),
        default=(20, 60),
        metavar="N,…",
        help="frames, and faces, of a run (default: 20,60)",
    )
    parser.add_argument(
        "--runtimes",
        type=comma_separated(str),
        default=("torch eager", *CUDA_VARIANTS),
        metavar="NAME,…",
        help=f"some of {'; '.join(RUNTIMES)} (default: all but torch.compile)",
    )
    parser.add_argument("--rounds", type=integer(1), default=30, help="timed runs of each (default: 30)")
    parser.add_argument(
        "--device", choices=("cuda", "cpu"), default="cuda", help="cpu rehearses, without FP16 by torch"
    )


def run(args: argparse.Namespace) -> int:
    """Time them all; a line for each, and one for the three back to back. Raises InputError."""
    if unknown := [name for name in args.runtimes if name not in RUNTIMES]:
        raise InputError(f"got {', '.join(unknown)}, expected some of {', '.join(RUNTIMES)}")
    precision = _served_precision(args.repository)
    frames = read_known_clip(args.clip).frames.data
    allow_tf32()
    if precision == "fp32":
        networks = load_networks(args.repository, args.checkpoint, frames=frames)
    else:
        networks = load_graphs(args.repository, frames)
    lines = FigureLines(args.output, repository=args.repository.name, device=args.device)
    lines.add("environment", **read_environment().to_json())
    for count in args.frames:
        for runtime in args.runtimes:
            for case in _cases(runtime, precision, args):
                _measure_all(networks, lines, case, frames=count)
    return 0


def _served_precision(repository: Path) -> Precision:
    form = read_served_version(repository).form
    precision = form.partition(",")[0].lower()
    if precision not in ("fp32", "fp16") or "TensorRT" in form:
        raise InputError(f"{repository} is {form}: export one in FP32 or FP16 with --engine onnx for this")
    return "fp32" if precision == "fp32" else "fp16"


def _cases(runtime: str, precision: Precision, args: argparse.Namespace) -> Iterator[_Case]:
    """Yield what a runtime is timed at: torch in both precisions where it has weights, a graph in its own."""
    if not runtime.startswith("torch"):
        yield _Case(runtime, precision, args.device, args.rounds)
    elif precision == "fp32":
        yield _Case(runtime, "fp32", args.device, args.rounds)
        if args.device == "cuda":  # CPUs emulate FP16, for minutes
            yield _Case(runtime, "fp16", args.device, args.rounds)


def _measure_all(networks: Stages[Network], lines: FigureLines, case: _Case, *, frames: int) -> None:
    medians_ms = [_measure(network, lines, case, rows=_rows(network, frames)) for network in networks]
    known_ms = [median for median in medians_ms if median is not None]
    if len(known_ms) < len(medians_ms):
        return
    total_ms = sum(known_ms)
    lines.add(
        "back to back",
        runtime=case.runtime,
        precision=case.precision,
        frames=frames,
        milliseconds=round(total_ms, 3),
        faces_a_second=round(1000 * frames / total_ms, 1),
    )


def _rows(network: Network, frames: int) -> int:
    """Return a network's rows for so many frames of clips with one face."""
    return max(1, frames // DEFAULT_FRAMES) if network.name == MODEL_NAMES.classifier else frames


def _measure(network: Network, lines: FigureLines, case: _Case, *, rows: int) -> float | None:
    """Time one network, and return its median in ms; None where it fails, or answers otherwise than FP32."""
    what = {"network": network.name, "runtime": case.runtime, "precision": case.precision, "rows": rows}
    try:
        expected = {network.output: _expected(network, rows, case)}
        if case.runtime.startswith("torch"):
            found = _torch_call(network, rows, case)
        else:
            found = _onnxruntime_call(network, rows, case)
        difference = network.difference({network.output: found.answer()}, expected)
        timing = _timed(found, case.rounds)
    except (DeepfakeError, RuntimeError, ValueError, TypeError) as error:
        lines.add("network", **what, reason=" ".join(str(error).split())[:_MAX_REASON_CHARACTERS])
        return None
    is_right = difference <= MAX_DIFFERENCE[case.precision]
    lines.add(
        "network",
        **what,
        difference=round(difference, 6),
        passed=is_right,
        median_ms=timing.median_ms,
        p95_ms=timing.p95_ms,
        first_ms=timing.warm_up_ms[0],
        rows_a_second=round(1000 * rows / timing.median_ms, 1),
    )
    return timing.median_ms if is_right else None


def _expected(network: Network, rows: int, case: _Case) -> Any:
    """Return torch's answer in FP32, on the same device; the graph's own on the CPU where that is all."""
    if network.module is None:
        return OnnxRunner(network.graph).infer(network.feed(rows))[network.output]
    return _torch_call(network, rows, _Case("torch eager", "fp32", case.device, case.rounds)).answer()


def _timed(found: DeviceCall, rounds: int) -> Timing:
    durations_ms = []
    for _ in range(_WARM_UP + rounds):
        began = perf_counter()
        found.call()
        found.wait()
        durations_ms.append(1000 * (perf_counter() - began))
    return Timing.from_values("", durations_ms[_WARM_UP:], durations_ms[:_WARM_UP])


def _torch_call(network: Network, rows: int, case: _Case) -> DeviceCall:
    """Return the module in channels-last memory; FP16 by autocast."""
    assert network.module is not None, "only a graph is at hand"
    module = copy.deepcopy(network.module).to(case.device).eval()
    for layer in module.modules():
        if isinstance(layer, torch.nn.Conv2d):
            layer.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    forward = torch.compile(module, mode="reduce-overhead") if case.runtime == "torch.compile" else module
    held = torch.from_numpy(network.feed(rows)[network.input]).to(case.device)

    def call() -> Any:
        half = case.precision == "fp16"
        with torch.inference_mode(), torch.autocast(case.device, torch.float16) if half else nullcontext():
            return forward(held)

    def answer() -> Any:
        output = call()
        return (output[-1] if isinstance(output, tuple) else output).float().cpu().numpy()

    return DeviceCall(call, torch.cuda.synchronize if case.device == "cuda" else lambda: None, answer)


def _onnxruntime_call(network: Network, rows: int, case: _Case) -> DeviceCall:
    """Return a session with input and output bound to the device."""
    import onnxruntime

    cpu: list[Any] = ["CPUExecutionProvider"]
    on_gpu = case.device == "cuda"
    providers = [("CUDAExecutionProvider", CUDA_VARIANTS[case.runtime]), *cpu] if on_gpu else cpu
    session = onnxruntime.InferenceSession(str(network.graph), providers=providers)
    if on_gpu and session.get_providers()[0] != "CUDAExecutionProvider":
        raise RuntimeError("the CUDA execution provider does not start here; the log says why")
    feed = network.feed(rows)[network.input]
    binding = session.io_binding()
    binding.bind_ortvalue_input(network.input, onnxruntime.OrtValue.ortvalue_from_numpy(feed, case.device, 0))
    binding.bind_output(network.output, case.device)

    def answer() -> Any:
        return np.asarray(session.run([network.output], {network.input: feed})[0])

    return DeviceCall(lambda: session.run_with_iobinding(binding), binding.synchronize_outputs, answer)

"""The three networks by themselves on one device, at many batch sizes, under each runtime that is here.

Run by gpu.sh: python -m deepfake_triton.benchmarks.gpu REPOSITORY [--device cuda] [--output DIR]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
from torch import nn

from deepfake_triton.benchmarks.environment import environment
from deepfake_triton.benchmarks.report import write_report
from deepfake_triton.benchmarks.repositories import checkpoint_of, exported
from deepfake_triton.benchmarks.samples import by_turns
from deepfake_triton.benchmarks.torch_detector import TorchDetector
from deepfake_triton.contracts import DETECTIONS, FAKE_PROBABILITY, FEATURES, FRAMES, faces_spec
from deepfake_triton.errors import DeepfakeError, InputError
from deepfake_triton.export.engine_builder import EngineOptions, build_engine
from deepfake_triton.export.half_precision import half_precision
from deepfake_triton.export.parity_sample import parity_sample
from deepfake_triton.export.repository import ONNX_NAME
from deepfake_triton.export.runners import Feed, OnnxRunner, Runner, TensorRTRunner
from deepfake_triton.export.shape_profiles import ShapeProfile
from deepfake_triton.export.tensorrt_library import load_tensorrt
from deepfake_triton.export.versions import active_version

BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
PRECISIONS = ("fp32", "fp16")
RUNTIMES = ("torch eager", "torch.compile", "ONNX Runtime", "TensorRT-RTX")
_FRAME_HW = (360, 640)
_CLIP_FRAMES = 20
_USUAL_BATCH = 32
_MOST_DIFFERENCE = {"fp32": 0.01, "fp16": 0.05}
"""Of the largest value; torch and ONNX Runtime are both let multiply FP32 in TF32."""

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Network:
    """One of the three in both forms, and rows of its input: frames, faces, or clips' features."""

    name: str
    module: nn.Module
    graph: Path
    input: str
    output: str
    rows: Array

    def feed(self, batch: int) -> Feed:
        """So many rows, repeated where there are fewer."""
        return {self.input: np.resize(self.rows, (batch, *self.rows.shape[1:]))}

    def difference(self, answer: Feed, expected: Feed) -> float:
        """The largest, as a share of the largest value; NaN for an answer that holds one.

        Of a detector only the best candidate of each frame is looked at, whose order is certain: its box and
        landmarks as shares of the face's width, its score as it is.
        """
        found, wanted = (np.asarray(each[self.output], np.float64) for each in (answer, expected))
        if self.output != DETECTIONS.name:
            return float(np.abs(found - wanted).max() / max(np.abs(wanted).max(), 1e-9))
        found, wanted = found[:, 0], wanted[:, 0]
        scale = np.maximum(wanted[:, 2:3] - wanted[:, :1], 1.0) * np.ones(wanted.shape[1])
        scale[:, 4] = 1.0
        return float((np.abs(found - wanted) / scale).max())


class TorchModule:
    """A module under torch, eager or compiled, from arrays to arrays; in FP16 by torch's own autocast."""

    def __init__(self, network: Network, device: str, half: bool, compiled: bool) -> None:
        module = network.module.to(device)
        self.call: Callable[..., Any] = torch.compile(module) if compiled else module
        self.network, self.device, self.half = network, device, half

    @property
    def runtime(self) -> str:
        """See Runner."""
        return f"torch {torch.__version__}, {self.device}"

    def infer(self, feed: Feed) -> Feed:
        """See Runner."""
        tensor = torch.from_numpy(feed[self.network.input]).to(self.device)
        precision = torch.autocast(self.device, torch.float16) if self.half else nullcontext()
        with torch.inference_mode(), precision:
            output = self.call(tensor)
        return {
            self.network.output: (output[-1] if isinstance(output, tuple) else output).float().cpu().numpy()
        }


Maker = Callable[[Network, str, Path], Runner]


def makers(device: str, largest_batch: int) -> dict[str, Maker]:
    """Each runtime by name: it takes a network, a precision and a folder to write to."""
    provider: Any = "cuda" if device == "cuda" else "cpu"

    def torch_module(compiled: bool, network: Network, precision: str, _: Path) -> Runner:
        return TorchModule(network, device, precision == "fp16", compiled)

    def onnxruntime(network: Network, precision: str, folder: Path) -> Runner:
        if precision == "fp32":
            return OnnxRunner(network.graph, provider)
        path = folder / f"{network.name}-fp16.onnx"
        onnx.save(half_precision(onnx.load(network.graph)), path)
        return OnnxRunner(path, provider)

    def tensorrt_rtx(network: Network, precision: Any, folder: Path) -> Runner:
        library, engine = load_tensorrt("tensorrt-rtx"), folder / f"{network.name}-{precision}.plan"
        usual = min(_USUAL_BATCH, largest_batch)
        shapes = [(batch, *network.rows.shape[1:]) for batch in (1, usual, largest_batch)]
        profiles = {network.input: ShapeProfile(*shapes)}
        build_engine(network.graph, engine, library, EngineOptions(precision, profiles=profiles))
        return TensorRTRunner(engine, library)

    return {
        "torch eager": partial(torch_module, False),
        "torch.compile": partial(torch_module, True),
        "ONNX Runtime": onnxruntime,
        "TensorRT-RTX": tensorrt_rtx,
    }


def networks(repository: Path, checkpoint: Path | None, video: Path | None) -> list[Network]:
    """The three of an FP32 ONNX repository, fed with real faces. Raises InputError."""
    served = exported(repository)
    if not served.form.startswith("FP32, ONNX") and not served.form.startswith("FP32, OpenVINO"):
        raise InputError(f"{repository} is {served.form}: export one in FP32 with --engine onnx for this")
    weights = checkpoint_of(served, checkpoint)
    version = str(active_version(repository))
    graphs = {
        name: repository / name / version / ONNX_NAME
        for name in ("face_detector", "feature_extractor", "sequence_classifier")
    }
    detector = OnnxRunner(graphs["face_detector"])
    sample = parity_sample(video, detector, weights.facts.crop_rule)
    frames = np.stack([_fitted(frame) for frame in sample.frames])
    crops = np.resize(sample.crops, (_CLIP_FRAMES, *sample.crops.shape[1:]))
    with torch.inference_mode():
        features = weights.extractor(torch.from_numpy(crops[None])).numpy()
    faces = faces_spec(weights.facts.crop_side).name
    torch_detector = TorchDetector(onnx.load(graphs["face_detector"]), served.detector_size)
    found = (
        ("face_detector", torch_detector, FRAMES.name, DETECTIONS.name, frames),
        ("feature_extractor", weights.extractor, faces, FEATURES.name, crops[:, None]),
        ("sequence_classifier", weights.classifier, FEATURES.name, FAKE_PROBABILITY.name, features),
    )
    return [Network(name, module, graphs[name], *rest) for name, module, *rest in found]


def _fitted(frame: Array) -> Array:
    import cv2

    return np.asarray(cv2.resize(frame, _FRAME_HW[::-1]), np.uint8)


def measure(
    network: Network,
    device: str,
    runtimes: Sequence[str],
    batches: Sequence[int],
    precisions: Sequence[str],
    rounds: int,
) -> Iterator[dict[str, Any]]:
    """A row for each runtime, precision and batch: its times, or why there are none.

    The times are from an array to an array, with the copies to the device and back. A runtime whose answers
    differ from torch's in FP32 gets none.
    """
    exact = TorchModule(network, device, half=False, compiled=False)
    with tempfile.TemporaryDirectory(prefix="deepfake-triton-bench-") as folder:
        for precision in precisions:
            runners: dict[str, Runner] = {}
            for name in runtimes:
                try:
                    runners[name] = makers(device, max(batches))[name](network, precision, Path(folder))
                except (DeepfakeError, RuntimeError) as error:
                    yield {"runtime": name, "precision": precision, "reason": _line(error)}
            for batch in batches:
                yield from _at(network, exact, runners, precision, batch, rounds)


def _at(
    network: Network, exact: Runner, runners: dict[str, Runner], precision: str, batch: int, rounds: int
) -> Iterator[dict[str, Any]]:
    feed = network.feed(batch)
    expected = exact.infer(feed)
    usable: dict[str, Runner] = {}
    differences: dict[str, float] = {}
    for name, runner in runners.items():
        row = {"runtime": name, "precision": precision, "batch": batch}
        try:
            differences[name] = network.difference(runner.infer(feed), expected)
        except (DeepfakeError, RuntimeError) as error:
            yield {**row, "reason": _line(error)}
            continue
        if not differences[name] <= _MOST_DIFFERENCE[precision]:  # NaN is no agreement
            yield {**row, "reason": f"answers differ by {differences[name]:.3f} of the largest value"}
            continue
        usable[name] = runner
    calls = {name: partial(runner.infer, feed) for name, runner in usable.items()}
    for name, times in by_turns(calls, rounds, warm_up=3).items() if calls else ():
        yield {
            "runtime": name,
            "precision": precision,
            "batch": batch,
            "difference": round(differences[name], 6),
            "rows_a_second": round(1000 * batch / times.median_ms, 1),
            **times.as_dict(),
        }


def _known(text: str, names: Sequence[str]) -> list[str]:
    wanted = text.split(",")
    if unknown := [name for name in wanted if name not in names]:
        raise InputError(f"got {', '.join(unknown)}, expected some of {', '.join(names)}")
    return wanted


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and write gpu.json, gpu.md and gpu.svg."""
    parser = argparse.ArgumentParser(description="The three networks by themselves, under each runtime.")
    parser.add_argument("repository", type=Path, help="that `export` wrote in FP32")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--checkpoint", type=Path, help="that was exported (default: the shipped weights)")
    parser.add_argument("--video", type=Path, help="with a face (default: the demo's clip)")
    parser.add_argument("--batches", default=",".join(map(str, BATCHES)), metavar="N,…")
    parser.add_argument("--precisions", default=",".join(PRECISIONS), metavar="P,…")
    parser.add_argument("--runtimes", default=",".join(RUNTIMES), metavar="NAME,…")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--output", type=Path, default=Path("build/benchmarks"))
    args = parser.parse_args(arguments)
    batches = [int(batch) for batch in args.batches.split(",")]
    try:
        if args.device == "cuda" and not torch.cuda.is_available():
            raise InputError("no GPU that torch can use is here; --device cpu runs the same on the CPU")
        on = environment()
        torch.set_float32_matmul_precision("high")
        torch.backends.cudnn.allow_tf32 = torch.backends.cudnn.benchmark = True
        runtimes, precisions = _known(args.runtimes, RUNTIMES), _known(args.precisions, PRECISIONS)
        rows = {
            network.name: list(measure(network, args.device, runtimes, batches, precisions, args.rounds))
            for network in networks(args.repository, args.checkpoint, args.video)
        }
        device = torch.cuda.get_device_name(0) if args.device == "cuda" else "CPU"
        write_report("gpu", on, {"device": device, "batches": batches, "networks": rows}, args.output)
    except DeepfakeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print((args.output / "gpu.md").read_text())
    return 0


if __name__ == "__main__":
    sys.exit(main())

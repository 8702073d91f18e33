"""The FP32 graphs of an export in the precision, and for the engine, that were asked for."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch

from deepfake_triton.contracts import DEFAULT_FRAMES, FEATURE_SIZE, FEATURES, FRAMES, faces_spec
from deepfake_triton.export.calibration_faces import CalibrationFaces
from deepfake_triton.export.checkpoint import Checkpoint
from deepfake_triton.export.differences import Difference, detection_difference, probability_difference
from deepfake_triton.export.engine_builder import EngineOptions, build_engine
from deepfake_triton.export.engine_record import engine_name, record_path
from deepfake_triton.export.equalisation import equalised
from deepfake_triton.export.graph_parts import network_nodes
from deepfake_triton.export.grid import Grid
from deepfake_triton.export.half_precision import half_precision
from deepfake_triton.export.networks import FeatureExtractor
from deepfake_triton.export.onnx_graphs import extractor_onnx_from_checkpoint, save_onnx
from deepfake_triton.export.parity_limits import INT8_MEAN_DETECTION, INT8_MEAN_PROBABILITY, Engine, Precision
from deepfake_triton.export.pixel_extractor import pixel_extractor
from deepfake_triton.export.quantisation import (
    Quantised,
    convolution_grids,
    highest_weight,
    map_grids,
    quantise,
    quantise_lstm,
)
from deepfake_triton.export.repository import ONNX_NAME
from deepfake_triton.export.rounding import folded, rounded
from deepfake_triton.export.runners import OnnxRunner, Provider, Runner
from deepfake_triton.export.tensorrt_library import TensorRT
from deepfake_triton.export.timing import median_times_ms
from deepfake_triton.integrity import file_hashes

_EVERYWHERE = ("onnxruntime", "openvino", "tensorrt")
_CHUNK = 16
_WORTH_IT = 0.9
"""What INT8 may take of FP32's time to be preferred to it."""


@dataclass(frozen=True)
class Graphs:
    """The three graphs of an export, on the way to what is served."""

    detector: Path
    extractor: Path
    classifier: Path


@dataclass(frozen=True)
class ServedGraph:
    """One model's graph: its ONNX file, what that computes in, what can run it, by which `provider` ONNX
    Runtime does, TensorRT's `engines` of it by compute capability, and for the report how it was `made`.

    A graph `mixes_batch` when its rounding depends on the other rows of a batch.
    """

    onnx: Path
    precision: Precision
    runs_on: tuple[str, ...] = _EVERYWHERE
    provider: Provider = "cpu"
    mixes_batch: bool = False
    engines: Mapping[str, Path] = field(default_factory=dict)
    made: Mapping[str, Any] = field(default_factory=dict)

    @property
    def files(self) -> dict[str, Path]:
        """What stands in the version's folder."""
        if not self.engines:
            return {ONNX_NAME: self.onnx}
        found = {ONNX_NAME: self.onnx}  # what engines for other GPUs are built from
        for capability, name in self.engine_files.items():
            found[name] = self.engines[capability]
            found[record_path(Path(name)).name] = record_path(self.engines[capability])
        return found

    @property
    def engine_files(self) -> dict[str, str]:
        """Names of the engines in the version's folder, by compute capability."""
        return {capability: engine_name(capability) for capability in self.engines}

    def as_dict(self) -> dict[str, Any]:
        """For `export_report.json`."""
        runs_on = [self.made["engines"][0]["builder"]["name"]] if self.engines else list(self.runs_on)
        return {
            "precision": self.precision,
            "runs_on": runs_on,
            "files": file_hashes(self.files),
            **self.made,
        }


Served = tuple[ServedGraph, ServedGraph, ServedGraph]
"""Detector, extractor and classifier."""


def single_precision(graphs: Graphs, provider: Provider) -> Served:
    """Detector, extractor and classifier as they are."""
    detector, extractor, classifier = (
        ServedGraph(path, "fp32", provider=provider)
        for path in (graphs.detector, graphs.extractor, graphs.classifier)
    )
    return detector, extractor, classifier


def in_half_precision(graphs: Graphs, provider: Provider) -> Served:
    """All three in FP16, but for LSTMs, preparation and decoding."""

    def half(path: Path) -> ServedGraph:
        target = path.with_suffix(".fp16.onnx")
        save_onnx(half_precision(onnx.load(path)), target)
        return ServedGraph(target, "fp16", provider=provider)

    return half(graphs.detector), half(graphs.extractor), half(graphs.classifier)


def in_int8(
    graphs: Graphs, checkpoint: Checkpoint, faces: CalibrationFaces, provider: Provider, engine: Engine
) -> Served:
    """Detector and extractor as one Q/DQ file for all engines; the classifier's LSTM in dynamic INT8 where
    ONNX Runtime serves it and is faster for that, else in FP32.

    Ranges are taken from three quarters of the faces; the rest decides which blocks stay FP32. Raises
    CalibrationError when INT8 changes too much.
    """

    def start(path: Path) -> OnnxRunner:
        return OnnxRunner(path, provider)

    clips = len(faces.frames) * 3 // 4 or 1
    detector_file = graphs.detector.with_suffix(".int8.onnx")
    detector = quantise(
        graphs.detector,
        map_grids(graphs.detector, [{FRAMES.name: each} for each in faces.frames[:clips]]),
        start,
        detection_difference(OnnxRunner(graphs.detector), faces.frames[clips:] or faces.frames),
        INT8_MEAN_DETECTION,
        detector_file,
    )
    looked_at, judged = np.split(faces.crops, [len(faces.crops) * 3 // 4])
    difference = probability_difference(OnnxRunner(graphs.extractor), OnnxRunner(graphs.classifier), judged)
    extractor_file = graphs.extractor.with_suffix(".int8.onnx")
    extractor = _int8_extractor(checkpoint, looked_at, start, difference, extractor_file)
    return (
        ServedGraph(detector_file, "int8", provider=provider, made=_made(detector)),
        ServedGraph(extractor_file, "int8", provider=provider, made=_made(extractor)),
        _int8_classifier(graphs.classifier, provider, engine),
    )


def with_engines(
    graph: ServedGraph,
    library: TensorRT,
    compute_capabilities: Sequence[str | None],
    timing_cache: Path | None,
) -> ServedGraph:
    """The graph compiled for each of the GPUs. Raises EngineError."""
    engines, records = {}, []
    for wanted in compute_capabilities:
        target = graph.onnx.with_suffix(f".sm{wanted or ''}.plan")
        record = build_engine(
            graph.onnx,
            target,
            library,
            EngineOptions(compute_capability=wanted, timing_cache=timing_cache),
        )
        engines[record.compute_capability] = target
        records.append(record.as_dict())
    return dataclasses.replace(graph, engines=engines, made={**graph.made, "engines": records})


def _int8_classifier(graph: Path, provider: Provider, engine: Engine) -> ServedGraph:
    """Dynamic INT8 where it is faster on this machine's CPU: small networks spend their time elsewhere."""
    if engine == "tensorrt":
        return ServedGraph(graph, "fp32", provider=provider)
    quantised = graph.with_suffix(".int8.onnx")
    quantise_lstm(graph, quantised)
    candidates = {
        f"fp32, {provider}": ServedGraph(graph, "fp32", provider=provider),
        "int8, cpu": ServedGraph(quantised, "int8", runs_on=("onnxruntime",), mixes_batch=True),
    }
    if provider != "cpu":
        candidates["fp32, cpu"] = ServedGraph(graph, "fp32")
    features = np.random.default_rng(0).standard_normal((1, DEFAULT_FRAMES, FEATURE_SIZE), np.float32)
    times = median_times_ms(
        [OnnxRunner(each.onnx, each.provider) for each in candidates.values()], {FEATURES.name: features}
    )
    by_name = dict(zip(candidates, times, strict=True))
    fastest = min(by_name, key=lambda name: by_name[name] / (_WORTH_IT if "int8" in name else 1))
    rounded = {name: round(value, 3) for name, value in by_name.items()}
    return dataclasses.replace(candidates[fastest], made={"median_ms": rounded})


def _int8_extractor(
    checkpoint: Checkpoint,
    crops: npt.NDArray[np.uint8],
    start: Callable[[Path], Runner],
    difference: Difference,
    path: Path,
) -> Quantised:
    """Channels brought to one scale, maps measured, weights fitted to what rounding leaves of the maps."""

    def graph_of(extractor: FeatureExtractor, name: str) -> Path:
        own = dataclasses.replace(checkpoint, extractor=extractor)
        return extractor_onnx_from_checkpoint(own, path.with_suffix(f".{name}.onnx"))

    own, pixels = checkpoint.extractor, torch.from_numpy(crops).float()
    equal = folded(equalised(own.backbone, own.pictures(pixels)))
    extractor = pixel_extractor(equal, checkpoint.facts)
    plain = graph_of(extractor, "equalised")
    name = faces_spec(checkpoint.facts.crop_side).name
    chunks = [{name: crops[first : first + _CHUNK, None]} for first in range(0, len(crops), _CHUNK)]
    read = network_nodes(onnx.load(plain))[0].input[0]
    grids = {**map_grids(plain, chunks), read: Grid(1.0)}
    extractor.backbone = rounded(
        extractor.backbone, extractor.pictures(pixels), convolution_grids(plain, grids), highest_weight()
    )
    fitted = graph_of(extractor, "fitted")
    return quantise(plain, grids, start, difference, INT8_MEAN_PROBABILITY, path, fitted)


def _made(quantised: Quantised) -> dict[str, Any]:
    return {"quantisation": asdict(quantised)}

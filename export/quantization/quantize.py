"""INT8 of the three networks: Q/DQ graphs of detector and extractor, dynamic INT8 of the LSTM."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import torch

from deepfake_triton.arrays import Frames
from deepfake_triton.contracts import DEFAULT_FRAMES, FEATURE_SIZE, FEATURES, FRAMES, faces_spec
from deepfake_triton.export.options import Engine
from deepfake_triton.export.parity.error_metrics import (
    Difference,
    detection_difference,
    probability_difference,
)
from deepfake_triton.export.parity.tolerances import INT8_MEAN_DETECTION, INT8_MEAN_PROBABILITY
from deepfake_triton.export.quantization.batch_norm_folding import fold_batch_norms
from deepfake_triton.export.quantization.calibration import CalibrationFaces
from deepfake_triton.export.quantization.cross_layer_equalization import equalize_cross_layer
from deepfake_triton.export.quantization.gptq import quantize_weights_gptq
from deepfake_triton.export.quantization.ptq import quantize_lstm, quantize_with_sensitivity
from deepfake_triton.export.quantization.qdq import weight_qmax
from deepfake_triton.export.quantization.quant_params import QuantParams
from deepfake_triton.export.quantization.range_estimation import (
    conv_quant_params,
    estimate_activation_ranges,
    widen_deep_ranges,
)
from deepfake_triton.export.quantization.uint8_input import uint8_input_extractor
from deepfake_triton.export.served_graph import ServedGraph
from deepfake_triton.models.checkpoints.checkpoint import Checkpoint
from deepfake_triton.models.graph_partition import network_nodes
from deepfake_triton.models.networks import FeatureExtractor
from deepfake_triton.models.onnx_export import extractor_onnx_from_checkpoint
from deepfake_triton.models.runtimes.base import Runner
from deepfake_triton.models.runtimes.latency import median_times_ms
from deepfake_triton.models.runtimes.onnx_runner import OnnxRunner
from deepfake_triton.models.stages import Stages
from deepfake_triton.repository.report_sections import QuantizationReport

_CHUNK = 16
_MAX_SHARE_OF_FP32_TIME = 0.9
"""INT8 of the classifier is preferred where it takes at most this share of FP32's time."""


def quantize_to_int8(
    graphs: Stages[Path],
    checkpoint: Checkpoint,
    faces: CalibrationFaces,
    *,
    engine: Engine,
) -> Stages[ServedGraph]:
    """Quantize detector and extractor to Q/DQ graphs that all engines read, and the classifier if it gains.

    The classifier's LSTM becomes dynamic INT8 where ONNX Runtime serves it and is faster so, else it stays
    FP32. Three quarters of the faces are calibrated on; the rest decides which blocks stay in FP32. Raises
    CalibrationError when INT8 changes too much.
    """

    provider = engine.provider

    def start(path: Path) -> OnnxRunner:
        return OnnxRunner(path, provider)

    detector = graphs.detector.with_suffix(".int8.onnx")
    detector_report = _quantize_detector(graphs.detector, faces.frames, detector, start=start)
    calibrated, held_out = np.split(faces.crops, [len(faces.crops) * 3 // 4])
    difference = probability_difference(OnnxRunner(graphs.extractor), OnnxRunner(graphs.classifier), held_out)
    extractor = graphs.extractor.with_suffix(".int8.onnx")
    extractor_report = _quantize_extractor(
        checkpoint, calibrated, extractor, start=start, difference=difference
    )
    return Stages(
        detector=ServedGraph(detector, "int8", provider=provider, quantization=detector_report),
        extractor=ServedGraph(extractor, "int8", provider=provider, quantization=extractor_report),
        classifier=_fastest_classifier(graphs.classifier, engine),
    )


def _quantize_detector(
    graph: Path, frames: tuple[Frames, ...], output: Path, *, start: Callable[[Path], Runner]
) -> QuantizationReport:
    """Quantize a detector on three quarters of the clips' frames [T, H, W, 3], checked on the rest."""
    calibrated = len(frames) * 3 // 4 or 1
    return quantize_with_sensitivity(
        graph,
        estimate_activation_ranges(graph, [{FRAMES.name: clip} for clip in frames[:calibrated]]),
        output,
        start=start,
        difference=detection_difference(OnnxRunner(graph), frames[calibrated:] or frames),
        limit=INT8_MEAN_DETECTION,
    )


def _quantize_extractor(
    checkpoint: Checkpoint,
    crops: Frames,
    output: Path,
    *,
    start: Callable[[Path], Runner],
    difference: Difference,
) -> QuantizationReport:
    """Equalize channels, estimate the ranges of activations, and round weights to make up for both."""

    def export_as(extractor: FeatureExtractor, name: str) -> Path:
        changed = dataclasses.replace(checkpoint, extractor=extractor)
        return extractor_onnx_from_checkpoint(changed, output.with_suffix(f".{name}.onnx"))

    original, pixels = checkpoint.extractor, torch.from_numpy(crops).float()
    equalized = fold_batch_norms(equalize_cross_layer(original.backbone, original.preprocess(pixels)))
    extractor = uint8_input_extractor(equalized, checkpoint.metadata)
    graph = export_as(extractor, "equalized")
    name = faces_spec(checkpoint.metadata.crop_side).name
    feeds = [{name: crops[first : first + _CHUNK, None]} for first in range(0, len(crops), _CHUNK)]
    network_input = network_nodes(onnx.load(graph))[0].input[0]
    ranges = widen_deep_ranges(graph, estimate_activation_ranges(graph, feeds))
    params = {**ranges, network_input: QuantParams(1.0)}
    extractor.backbone = quantize_weights_gptq(
        extractor.backbone,
        extractor.preprocess(pixels),
        conv_quant_params(graph, params),
        weight_qmax=weight_qmax(),
    )
    return quantize_with_sensitivity(
        graph,
        params,
        output,
        start=start,
        difference=difference,
        limit=INT8_MEAN_PROBABILITY,
        rounded=export_as(extractor, "rounded"),
    )


def _fastest_classifier(graph: Path, engine: Engine) -> ServedGraph:
    """Choose dynamic INT8 where it is faster on this CPU: small networks spend their time elsewhere."""
    provider = engine.provider
    if engine.name == "tensorrt":
        return ServedGraph(graph, "fp32", provider=provider)
    quantized = graph.with_suffix(".int8.onnx")
    quantize_lstm(graph, quantized)
    candidates = {
        f"fp32, {provider}": ServedGraph(graph, "fp32", provider=provider),
        "int8, cpu": ServedGraph(quantized, "int8", runs_on=("onnxruntime",), mixes_batch=True),
    }
    if provider != "cpu":
        candidates["fp32, cpu"] = ServedGraph(graph, "fp32")
    features = np.random.default_rng(0).standard_normal((1, DEFAULT_FRAMES, FEATURE_SIZE), np.float32)
    runners = [OnnxRunner(candidate.onnx, candidate.provider) for candidate in candidates.values()]
    medians = median_times_ms(runners, {FEATURES.name: features})
    by_name = dict(zip(candidates, medians, strict=True))
    fastest = min(
        by_name, key=lambda name: by_name[name] / (_MAX_SHARE_OF_FP32_TIME if "int8" in name else 1)
    )
    rounded = {name: round(value, 3) for name, value in by_name.items()}
    return dataclasses.replace(candidates[fastest], median_ms=rounded)

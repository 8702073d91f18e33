"""The command line as options: which go together, and the way of `--max-queue` into the config."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from deepfake_triton.errors import EngineError, ExportError
from deepfake_triton.export.arguments import configure, options_from
from deepfake_triton.export.options import (
    DEFAULT_CALIBRATION_SAMPLES,
    Bf16,
    CheckpointWeights,
    DefaultWeights,
    DetectorOptions,
    ExportOptions,
    Fp16,
    Fp32,
    Int8,
    OnnxRuntimeEngine,
    ServingLimits,
    TensorRTEngine,
    UntrainedWeights,
)
from deepfake_triton.export.repository.configs import model_configs
from deepfake_triton.export.repository.queue_sizing import GPU_QUEUE, MAX_QUEUE, size_queue
from deepfake_triton.models.metadata import PUBLISHED
from deepfake_triton.models.metadata_overrides import NO_OVERRIDES, MetadataOverrides

pytestmark = pytest.mark.fast


def parsed(*arguments: str) -> ExportOptions:
    parser = argparse.ArgumentParser(exit_on_error=False)
    configure(parser)
    return options_from(parser.parse_args(["--output", "repository", *arguments]))


def test_without_arguments_all_is_as_the_options_default() -> None:
    options = parsed()
    assert isinstance(options.weights, DefaultWeights)
    assert options.weights.metadata_overrides == NO_OVERRIDES
    defaults = ExportOptions(Path("repository"), options.weights)
    assert options == defaults
    assert options.precision == Fp32() and options.engine == OnnxRuntimeEngine()
    assert (options.engine.backend, options.engine.provider) == ("onnxruntime", "cpu")


def test_every_argument_reaches_its_option() -> None:
    options = parsed("--checkpoint", "a.pt", "--lstm-bias", "drop", "--crop-side", "64", "--mean", "0,0.5,1")
    assert isinstance(options.weights, CheckpointWeights)
    assert (options.weights.path, options.weights.lstm_bias) == (Path("a.pt"), "drop")
    assert options.weights.metadata_overrides == MetadataOverrides(crop_side=64, mean=(0.0, 0.5, 1.0))
    assert isinstance(parsed("--untrained").weights, UntrainedWeights)
    int8 = (
        "--precision",
        "int8",
        "--calibration",
        "a.mp4",
        "b",
        "--calibration-samples",
        "32",
        "--seed",
        "7",
    )
    assert parsed(*int8).precision == Int8((Path("a.mp4"), Path("b")), 32, 7)
    assert parsed("--precision", "int8").precision == Int8() == Int8((), DEFAULT_CALIBRATION_SAMPLES, 0)
    assert parsed("--precision", "int8", "--calibration-samples", "32", "--seed", "7").precision == Int8(
        samples=32, seed=7
    )
    assert parsed("--precision", "fp16").precision == Fp16()
    assert parsed("--precision", "bf16", "--accelerator", "openvino").precision == Bf16()
    assert parsed("--accelerator", "openvino").engine == OnnxRuntimeEngine(openvino=True)
    assert parsed("--accelerator", "openvino").engine.accelerator == "openvino"
    rtx = ("--engine", "tensorrt", "--builder", "tensorrt-rtx", "--compute-capability", "8.9")
    engine = parsed(*rtx, "--compute-capability", "12.0", "--timing-cache", "t").engine
    assert engine == TensorRTEngine("tensorrt-rtx", ("8.9", "12.0"), Path("t"))
    assert (engine.backend, engine.provider, engine.accelerator) == ("tensorrt", "cpu", None)
    assert parsed("--detector", "yunet:f", "--detector-size", "640").detector == DetectorOptions(
        "yunet:f", 640
    )
    parity = parsed("--parity", "v.mp4", "--gate", "m.csv").parity
    assert (parity.video, parity.gate) == (Path("v.mp4"), Path("m.csv"))


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        (("--calibration", "a.mp4"), ExportError, "is for --precision int8, got fp32"),
        (("--engine", "tensorrt", "--accelerator", "openvino"), ExportError, "TensorRT runs on GPUs"),
        (("--precision", "bf16"), ExportError, "bf16 is for --accelerator openvino"),
        (("--precision", "bf16", "--engine", "tensorrt"), ExportError, "bf16 is for --accelerator openvino"),
        (("--precision", "auto", "--accelerator", "openvino"), ExportError, "auto chooses the accelerator"),
        (
            ("--precision", "auto", "--engine", "tensorrt"),
            ExportError,
            "leave out --accelerator",
        ),
        (("--builder", "tensorrt-rtx"), ExportError, "are for --engine tensorrt"),
        (("--timing-cache", "t"), ExportError, "are for --engine tensorrt"),
        (("--max-queue", "0"), ExportError, "--max-queue: got 0, expected 1 or more"),
    ],
)
def test_arguments_that_exclude_each_other_are_refused(
    arguments: tuple[str, ...], error: type[ExportError], says: str
) -> None:
    with pytest.raises(error, match=says):
        parsed(*arguments)


def test_a_capability_that_the_builder_does_not_target_is_refused_before_the_export() -> None:
    with pytest.raises(EngineError, match=r"got 1\.0, expected one of"):
        TensorRTEngine("tensorrt-rtx", ("1.0",)).load_library()


def test_the_detector_gets_every_frame_unless_an_interval_is_given() -> None:
    assert parsed().detector.interval == 1
    assert parsed("--detection-interval", "4").detector.interval == 4
    for interval in ("0", "-1", "65"):
        with pytest.raises(ExportError, match=rf"--detection-interval: got {interval}, expected 1…64"):
            parsed("--detection-interval", interval)


def test_max_queue_goes_from_the_command_line_into_the_config() -> None:
    queue = size_queue(parsed("--max-queue", "23").serving, None, crop_side=112)
    assert queue.max_queue == 23 and queue.to_json() == {"clip_ms": None, "max_queue_size": 23}
    configs = model_configs(PUBLISHED, 1, weights="custom", export_sha256="", max_queue=queue.max_queue)
    for name in ("face_detector", "frame_decoder"):
        assert configs[name].dynamic_batching.default_queue_policy.max_queue_size == 23
    assert size_queue(ServingLimits(), None, crop_side=112).max_queue == MAX_QUEUE


@pytest.mark.parametrize(
    ("arguments", "device"),
    [
        ((), "cpu"),
        (("--accelerator", "openvino"), "cpu"),
        (("--precision", "int8"), "cpu"),
        (("--precision", "int8", "--calibration", "a.mp4"), "cpu"),
        (("--precision", "fp16"), "gpu"),
        (("--engine", "tensorrt"), "gpu"),
        (("--device", "gpu"), "gpu"),
        (("--precision", "fp16", "--device", "cpu"), "cpu"),
    ],
)
def test_an_export_is_for_the_device_that_its_precision_suits_unless_one_is_named(
    arguments: tuple[str, ...], device: str
) -> None:
    assert parsed(*arguments).serving.device == device


def test_a_gpu_s_queue_is_as_limited_or_large_and_nothing_is_timed_for_it() -> None:
    queue = size_queue(parsed("--device", "gpu").serving, None, crop_side=112)
    assert queue.to_json() == {"clip_ms": None, "max_queue_size": GPU_QUEUE} and GPU_QUEUE == 128
    assert size_queue(ServingLimits(max_queue=5, device="gpu"), None, crop_side=112).max_queue == 5

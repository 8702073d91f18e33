"""The options of `deepfake-triton export` on the command line, and what they mean together."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from deepfake_triton.contracts import DEFAULT_DETECTOR_SIZE, BuilderName
from deepfake_triton.errors import ExportError
from deepfake_triton.export.metadata_arguments import add_metadata_options, overrides_from
from deepfake_triton.export.options import (
    DEFAULT_CALIBRATION_SAMPLES,
    DEVICES,
    ENGINES,
    PRECISIONS,
    Bf16,
    CheckpointWeights,
    DefaultWeights,
    DetectorOptions,
    DeviceName,
    Engine,
    ExportOptions,
    Fp16,
    Fp32,
    Int8,
    OnnxRuntimeEngine,
    ParityOptions,
    Precision,
    PrecisionName,
    ServingLimits,
    TensorRTEngine,
    UntrainedWeights,
    Weights,
)
from deepfake_triton.models.runtimes.tensorrt_library import BUILDERS

AUTO = "auto"
"""Value of `--precision` that leaves the choice to a measurement."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="the model repository")
    _add_weight_options(parser)
    _add_detector_options(parser)
    _add_check_options(
        parser.add_argument_group(
            "checks", "Every export is compared with torch on real face crops before anything is written."
        )
    )
    precision = parser.add_argument_group(
        "precision and engine; the default is FP32 on ONNX Runtime's CPU provider"
    )
    add_precision_options(precision)
    _add_calibration_options(precision)
    _add_engine_options(precision)
    _add_serving_options(parser.add_argument_group("serving limits"))
    add_metadata_options(
        parser.add_argument_group("metadata of the checkpoint, where it differs from what the file says")
    )


def add_precision_options(parser: argparse._ActionsContainer) -> None:
    """Declare the precision of the networks and their accelerator on CPUs."""
    parser.add_argument(
        "--precision",
        choices=(*PRECISIONS, AUTO),
        default="fp32",
        help="bf16 is for OpenVINO on CPUs that have it; fp16 for GPUs; int8 for OpenVINO, TensorRT and "
        "LSTMs on the CPU, and is calibrated on faces; auto: of fp32, bf16 and int8 the fastest on this "
        "CPU that passes the checks, with its accelerator, in minutes",
    )
    parser.add_argument(
        "--accelerator",
        choices=("openvino",),
        help="ONNX Runtime's execution provider on a CPU; comes with the extra openvino",
    )


def _add_weight_options(parser: argparse.ArgumentParser) -> None:
    weights = parser.add_mutually_exclusive_group()
    weights.add_argument(
        "--checkpoint",
        type=Path,
        metavar="PATH",
        help="*.pt, *.pth or *.safetensors (default: the weights that ship with the project)",
    )
    weights.add_argument(
        "--untrained",
        action="store_true",
        help="random weights, the same everywhere: every verdict then means nothing",
    )


def _add_detector_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--detector",
        default="centerface",
        metavar="NAME[:PATH]",
        help="face detector: centerface (default, MIT), yunet:PATH (Apache-2.0), "
        "scrfd:PATH, or insightface:PACK such as buffalo_l (weights for non-commercial research only)",
    )
    parser.add_argument(
        "--detector-size",
        type=int,
        default=DEFAULT_DETECTOR_SIZE,
        metavar="PX",
        help="long side of the detector's input: %(default)s (default) finds faces from 5 %% of the frame's "
        "width up, 640 from 2.5 %% up for three times the work",
    )
    parser.add_argument(
        "--detection-interval",
        type=int,
        default=1,
        metavar="N",
        help="detect faces in every Nth frame of a clip, and follow them through those between (default: 1, "
        "every frame)",
    )


def _add_check_options(parser: argparse._ActionsContainer) -> None:
    parser.add_argument(
        "--parity",
        type=Path,
        metavar="VIDEO",
        help="video whose faces are compared (default: the demo's clip)",
    )
    parser.add_argument(
        "--gate",
        type=Path,
        metavar="CSV",
        help="accuracy gate: manifest of labeled clips on which AUC and verdicts have to hold",
    )


def _add_calibration_options(parser: argparse._ActionsContainer) -> None:
    parser.add_argument(
        "--calibration",
        type=Path,
        nargs="+",
        default=[],
        metavar="PATH",
        help="videos, photos, or folders of them, like those that the server will see, for INT8 calibration "
        "(default: 40 studio portraits that come with the package, which suit other footage less)",
    )
    parser.add_argument(
        "--calibration-samples",
        type=int,
        default=DEFAULT_CALIBRATION_SAMPLES,
        metavar="N",
        help="faces for INT8 calibration, at most (default: %(default)s)",
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="random seed that chooses the calibration faces (default: 0)"
    )


def _add_engine_options(parser: argparse._ActionsContainer) -> None:
    parser.add_argument(
        "--engine",
        choices=ENGINES,
        default="onnx",
        help="tensorrt: engines built for a GPU, for Triton's TensorRT backend",
    )
    parser.add_argument(
        "--compute-capability",
        action="append",
        default=[],
        metavar="X.Y",
        help="compute capability to build engines for, such as 8.9; repeatable (default: the local GPU's)",
    )
    parser.add_argument(
        "--builder",
        choices=BUILDERS,
        help="tensorrt (default); tensorrt-rtx needs no GPU, but Triton does not load its engines",
    )
    parser.add_argument(
        "--timing-cache", type=Path, metavar="FILE", help="TensorRT's kernel timings, read and written"
    )


def _add_serving_options(parser: argparse._ActionsContainer) -> None:
    parser.add_argument(
        "--max-queue",
        type=int,
        metavar="N",
        help="clips that may wait before more are refused (default: 128 for a GPU, else 16…64, by the time "
        "of one clip here)",
    )
    parser.add_argument(
        "--device",
        choices=DEVICES,
        help="what the server runs on: gpu gives networks and tracker more instances (default: gpu for fp16 "
        "and TensorRT, else cpu); either runs on both",
    )


def options_from(args: argparse.Namespace) -> ExportOptions:
    """Return the parsed command line as options. Raises ExportError for options that exclude each other."""
    require_no_engine(args)
    return ExportOptions(
        output=args.output,
        weights=_weights(args),
        detector=DetectorOptions(args.detector, args.detector_size, args.detection_interval),
        precision=Fp32()
        if args.precision == AUTO
        else precision_from(args.precision, args.calibration, args.calibration_samples, seed=args.seed),
        engine=_engine(args),
        parity=ParityOptions(args.parity, args.gate),
        serving=ServingLimits(max_queue=args.max_queue, device=_device(args)),
    )


def require_no_engine(args: argparse.Namespace) -> None:
    """Raise ExportError for an engine or accelerator beside `--precision auto`, which chooses it."""
    if args.precision == AUTO and (args.accelerator or getattr(args, "engine", "onnx") != "onnx"):
        raise ExportError(
            f"--precision {AUTO} chooses the accelerator of this CPU: leave out --accelerator and --engine"
        )


def int8_from(args: argparse.Namespace) -> Int8:
    """Return INT8 as `--precision auto` may choose it."""
    return Int8(tuple(args.calibration), args.calibration_samples, args.seed)


def precision_from(
    name: PrecisionName,
    calibration: Sequence[Path],
    samples: int = DEFAULT_CALIBRATION_SAMPLES,
    *,
    seed: int = 0,
) -> Precision:
    """Return a precision with what it is calibrated on; without `calibration`, INT8 is on bundled portraits.
    Raises ExportError for another precision with it."""
    if name == "int8":
        return Int8(tuple(calibration), samples, seed)
    if calibration:
        raise ExportError(f"--calibration is for --precision int8, got {name}")
    without_calibration: dict[str, Precision] = {each.name: each for each in (Fp32(), Bf16(), Fp16())}
    return without_calibration[name]


def _device(args: argparse.Namespace) -> DeviceName:
    if args.device:
        return cast("DeviceName", args.device)
    return "gpu" if args.engine == "tensorrt" or args.precision == "fp16" else "cpu"


def _weights(args: argparse.Namespace) -> Weights:
    overrides = overrides_from(args)
    if args.untrained:
        return UntrainedWeights(overrides)
    if args.checkpoint:
        return CheckpointWeights(args.checkpoint, args.lstm_bias, overrides)
    return DefaultWeights(overrides)


def _engine(args: argparse.Namespace) -> Engine:
    if args.engine == "tensorrt":
        if args.accelerator:
            raise ExportError("--accelerator openvino is for --engine onnx; TensorRT runs on GPUs")
        builder: BuilderName = args.builder or "tensorrt"
        return TensorRTEngine(builder, tuple(args.compute_capability), args.timing_cache)
    if args.builder or args.compute_capability or args.timing_cache:
        raise ExportError("--builder, --compute-capability and --timing-cache are for --engine tensorrt")
    return OnnxRuntimeEngine(openvino=args.accelerator == "openvino")

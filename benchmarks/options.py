"""The options of `deepfake-triton bench`, which its help shows without the extra."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from deepfake_triton.cli_types import comma_separated, integer
from deepfake_triton.contracts import MAX_FACES, MAX_FRAMES

_OUTPUT = Path("build/benchmarks")
QUICK_ROUNDS, QUICK_SECONDS = 4, 1.0
"""What `compare --quick` measures at most."""


@dataclass(frozen=True)
class _Factor:
    """What `bench scaling` varies, and the largest value."""

    summary: str
    default: tuple[int, ...]
    largest: int


SCALING: Mapping[str, _Factor] = {
    "callers": _Factor("callers at once", (1, 2, 4, 8, 16, 32, 64), 1024),
    "frames": _Factor("frames of a clip", (1, 4, 8, 16, 20, 32, 64), MAX_FRAMES),
    "faces": _Factor("faces in each frame", (1, 2, 4, 8), MAX_FACES),
    "lines": _Factor("height of a video in px, decoding and scaling included", (360, 720, 1080, 2160), 4320),
}
BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
PRECISIONS = ("fp32", "fp16")
RUNTIMES = ("torch eager", "torch.compile", "ONNX Runtime", "TensorRT-RTX")


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare a subcommand for each benchmark."""
    subparsers = parser.add_subparsers(dest="benchmark", metavar="BENCHMARK", required=True)
    for name, (summary, add_options) in _BENCHMARKS.items():
        subparser = subparsers.add_parser(
            name, help=summary, description=f"{summary[0].upper()}{summary[1:]}."
        )
        subparser.add_argument(
            "repository", type=Path, metavar="DIR", help="model repository that `export` wrote"
        )
        subparser.add_argument(
            "--output",
            type=Path,
            default=_OUTPUT,
            metavar="DIR",
            help="for JSON, Markdown and SVG (default: %(default)s)",
        )
        add_options(subparser)


def _stages_options(parser: argparse.ArgumentParser) -> None:
    _add_video(parser)
    _add_transport(parser)
    _add_rounds(parser)


def _load_options(parser: argparse.ArgumentParser) -> None:
    _add_video(parser)
    _add_transport(parser)
    _add_seconds(parser, 10.0)
    parser.add_argument(
        "--callers",
        type=comma_separated(int),
        default=(1, 2, 4, 8, 16, 32),
        metavar="N,…",
        help="concurrent callers of each point (default: 1,2,4,8,16,32)",
    )
    parser.add_argument(
        "--shares",
        type=comma_separated(float),
        default=(0.5, 0.8, 1.0, 2.0),
        metavar="X,…",
        help="request rates, as shares of the peak throughput (default: 0.5,0.8,1,2)",
    )
    parser.add_argument(
        "--timeout",
        type=float,
        default=30.0,
        metavar="SECONDS",
        help="of requests at a rate (default: %(default)s)",
    )
    parser.add_argument(
        "--mixed-sizes",
        action="store_true",
        help="first ask the fresh server with clips of several picture sizes, lengths and numbers of faces: "
        "the first request of each beside later ones",
    )
    parser.add_argument(
        "--perf-analyzer", type=Path, metavar="FILE", help="measure the same points with it too"
    )


def _scaling_options(parser: argparse.ArgumentParser) -> None:
    _add_transport(parser)
    _add_seconds(parser, 5.0)
    for name, factor in SCALING.items():
        parser.add_argument(
            f"--{name}",
            type=comma_separated(integer(1, factor.largest)),
            default=factor.default,
            metavar="N,…",
            help=f"{factor.summary} (default: {','.join(map(str, factor.default))})",
        )
    parser.add_argument(
        "--cores",
        type=comma_separated(integer(1, len(os.sched_getaffinity(0)))),
        metavar="N,…",
        help="CPU cores that server and client may use (default: 1, 2, 4 and so on, and all)",
    )


def _compare_options(parser: argparse.ArgumentParser) -> None:
    _add_video(parser)
    _add_rounds(parser)
    _add_seconds(parser, 5.0)
    parser.add_argument(
        "--quick",
        action="store_true",
        help=f"{QUICK_ROUNDS} rounds and {QUICK_SECONDS:g} s a point, at most: minutes, with wide intervals, "
        "and the throughput of a short burst",
    )
    parser.add_argument(
        "--callers", type=int, default=8, metavar="N", help="concurrent callers (default: %(default)s)"
    )
    parser.add_argument(
        "--also",
        type=Path,
        action="append",
        default=[],
        metavar="DIR",
        help="repository with the same weights in another form, such as INT8; repeatable",
    )
    parser.add_argument(
        "--also-server",
        type=_named_address,
        action="append",
        default=[],
        metavar="NAME=HOST:PORT",
        help="a running server, such as one on a GPU; repeatable",
    )
    parser.add_argument(
        "--checkpoint",
        type=Path,
        metavar="FILE",
        help="checkpoint that the repository was exported from (default: the shipped weights)",
    )
    parser.add_argument("--no-published", action="store_true", help="leave the slow published pipeline out")


def _gpu_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--video", type=Path, help="video with a face (default: the demo's clip)")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="default: %(default)s")
    parser.add_argument(
        "--checkpoint",
        type=Path,
        metavar="FILE",
        help="checkpoint that the repository was exported from (default: the shipped weights)",
    )
    parser.add_argument(
        "--batches",
        type=comma_separated(int),
        default=BATCHES,
        metavar="N,…",
        help=f"batch sizes (default: {','.join(map(str, BATCHES))})",
    )
    parser.add_argument(
        "--precisions",
        type=comma_separated(str),
        default=PRECISIONS,
        metavar="P,…",
        help=f"default: {','.join(PRECISIONS)}",
    )
    parser.add_argument(
        "--runtimes",
        type=comma_separated(str),
        default=RUNTIMES,
        metavar="NAME,…",
        help=f"default: {','.join(RUNTIMES)}",
    )
    parser.add_argument(
        "--rounds", type=int, default=20, metavar="N", help="timed rounds (default: %(default)s)"
    )


def _limit_options(parser: argparse.ArgumentParser) -> None:
    """Declare nothing: `limit` needs the repository only."""


def _named_address(text: str) -> tuple[str, str]:
    name, equals, address = text.partition("=")
    if not (name and equals and address):
        raise argparse.ArgumentTypeError(f"got {text!r}, expected NAME=HOST:PORT")
    return name, address


def _add_video(parser: argparse.ArgumentParser) -> None:
    """Declare `--video`."""
    parser.add_argument("--video", type=Path, help="video with a face (default: the demo's clip in 720p)")


def _add_transport(parser: argparse.ArgumentParser) -> None:
    """Declare `--transport`."""
    parser.add_argument(
        "--transport",
        choices=("auto", "grpc", "shared-memory", "jpeg"),
        default="auto",
        help="how frames reach the server (default: %(default)s)",
    )


def _add_rounds(parser: argparse.ArgumentParser) -> None:
    """Declare `--rounds`."""
    parser.add_argument(
        "--rounds", type=int, default=20, metavar="N", help="timed rounds (default: %(default)s)"
    )


def _add_seconds(parser: argparse.ArgumentParser, default: float) -> None:
    """Declare `--seconds`."""
    parser.add_argument(
        "--seconds", type=float, default=default, help="for each point (default: %(default)s)"
    )


_BENCHMARKS: Mapping[str, tuple[str, Callable[[argparse.ArgumentParser], None]]] = {
    "stages": ("where the time of one clip goes", _stages_options),
    "load": ("latency and throughput for concurrent callers, and for request rates", _load_options),
    "compare": (
        "latency and throughput against baselines such as torch, FastAPI and the published pipeline",
        _compare_options,
    ),
    "scaling": (
        "how the cost of a clip grows with callers, frames, faces, resolution and CPU cores",
        _scaling_options,
    ),
    "limit": ("each graph against the machine's limit, by the roofline model", _limit_options),
    "gpu": ("the three networks alone on a GPU, by runtime, precision and batch size", _gpu_options),
}

"""`deepfake-triton bench`: where the time goes, against whom, and how far from the limit."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from deepfake_triton.benchmarks.clips import bench_clip
from deepfake_triton.benchmarks.environment import environment
from deepfake_triton.benchmarks.report import write_report
from deepfake_triton.errors import MissingDependency

_OUTPUT = Path("build/benchmarks")
_MOST_APART = 0.15
"""Two tools that measure the same should differ by no more."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    kinds = parser.add_subparsers(dest="benchmark", metavar="BENCHMARK", required=True)
    for name, text in (
        ("stages", "where the time of one clip goes"),
        ("load", "latency and throughput for callers at once, and for request rates"),
        ("compare", "against what one would pick instead"),
        ("limit", "each graph against what the machine can do"),
    ):
        kind = kinds.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
        kind.add_argument("repository", type=Path, metavar="DIR", help="model repository that `export` wrote")
        kind.add_argument(
            "--output",
            type=Path,
            default=_OUTPUT,
            metavar="DIR",
            help="for JSON, Markdown and SVG (default: %(default)s)",
        )
        if name != "limit":
            kind.add_argument("--video", type=Path, help="with a face (default: the demo's clip in 720p)")
        if name in ("stages", "load"):
            kind.add_argument(
                "--transport", choices=("auto", "grpc", "shared-memory", "jpeg"), default="auto"
            )
        if name in ("stages", "compare"):
            kind.add_argument(
                "--rounds", type=int, default=20, metavar="N", help="turns (default: %(default)s)"
            )
        if name in ("load", "compare"):
            kind.add_argument(
                "--seconds",
                type=float,
                default=5.0 if name == "compare" else 10.0,
                help="for each point (default: %(default)s)",
            )
    load, compare = kinds.choices["load"], kinds.choices["compare"]
    load.add_argument("--callers", type=_numbers, default=(1, 2, 4, 8, 16, 32), metavar="N,…")
    load.add_argument(
        "--shares", type=_shares, default=(0.5, 0.8, 1.0, 2.0), metavar="X,…", help="of the peak"
    )
    load.add_argument("--timeout", type=float, default=30.0, metavar="SECONDS", help="of requests at a rate")
    load.add_argument(
        "--perf-analyzer", type=Path, metavar="FILE", help="measure the same points with it too"
    )
    compare.add_argument("--callers", type=int, default=8, metavar="N")
    compare.add_argument(
        "--also",
        type=Path,
        action="append",
        default=[],
        metavar="DIR",
        help="repository with the same weights in another form, such as INT8; repeatable",
    )
    compare.add_argument(
        "--also-server",
        type=_named_address,
        action="append",
        default=[],
        metavar="NAME=HOST:PORT",
        help="a running server, such as one on a GPU; repeatable",
    )
    compare.add_argument(
        "--checkpoint", type=Path, metavar="FILE", help="that was exported (default: the shipped weights)"
    )
    compare.add_argument("--no-published", action="store_true", help="leave the slow published pipeline out")


def run(args: argparse.Namespace) -> int:
    """Measure, write the report, and print its table."""
    on = environment()
    result = {"stages": _stages, "load": _load, "compare": _compare, "limit": _limit}[args.benchmark](args)
    write_report(args.benchmark, on, result, args.output)
    print((args.output / f"{args.benchmark}.md").read_text())
    return 0


def _stages(args: argparse.Namespace) -> dict[str, Any]:
    from deepfake_triton.benchmarks.stages import measure_stages
    from deepfake_triton.client import Transport

    with bench_clip(args.video) as video, _server(args.repository) as server:
        return measure_stages(server.url, video, 20, args.rounds, Transport(args.transport))


def _load(args: argparse.Namespace) -> dict[str, Any]:
    from deepfake_triton.benchmarks.load import closed_loop, measure_load
    from deepfake_triton.benchmarks.perf_analyzer import second_opinion
    from deepfake_triton.client import Transport
    from deepfake_triton.preprocessing.video import decode_clip

    with bench_clip(args.video) as video:
        clip = decode_clip(video).frames
    with _server(args.repository) as server:
        result = measure_load(
            server.url,
            clip,
            args.callers,
            args.shares,
            args.seconds,
            Transport(args.transport),
            server.process.pid,
            args.timeout,
        )
        if args.perf_analyzer:
            calm = [each["callers"] for each in result["closed_loop"] if not each["refused"]]

            def own(callers: int) -> float:
                found = closed_loop(server.url, clip, callers, args.seconds, Transport.GRPC, None)
                return float(found["throughput_a_second"])

            try:
                result["perf_analyzer"] = second_opinion(args.perf_analyzer, server.url, clip, calm, own)
            except MissingDependency as error:
                result["perf_analyzer_reason"] = str(error)
            for each in result.get("perf_analyzer", []):
                if abs(each["difference"]) > _MOST_APART:
                    print(
                        f"deepfake-triton: {each['callers']} callers: ours differs from perf_analyzer's by "
                        f"{each['difference']:+.0%}: measure again on a quieter machine",
                        file=sys.stderr,
                    )
        return result


def _compare(args: argparse.Namespace) -> dict[str, Any]:
    from deepfake_triton.benchmarks.compare import compare

    with bench_clip(args.video) as video:
        return compare(
            args.repository,
            video,
            args.rounds,
            args.seconds,
            args.callers,
            not args.no_published,
            args.also,
            args.also_server,
            args.checkpoint,
        )


def _limit(args: argparse.Namespace) -> dict[str, Any]:
    from deepfake_triton.benchmarks.limit import measure_limits

    return measure_limits(args.repository)


def _server(repository: Path) -> Any:
    from deepfake_triton.serving.server import ServerOptions, TritonServer

    return TritonServer(ServerOptions(repository, grpc_port=0, http_port=0, metrics_port=0))


def _named_address(text: str) -> tuple[str, str]:
    name, equals, address = text.partition("=")
    if not (name and equals and address):
        raise argparse.ArgumentTypeError(f"got {text!r}, expected NAME=HOST:PORT")
    return name, address


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(","))


def _shares(text: str) -> tuple[float, ...]:
    return tuple(float(part) for part in text.split(","))

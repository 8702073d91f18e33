"""`serve`: the real tritonserver, its answers against known ones, and its clips a second."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import cv2

from deepfake_triton.benchmarks.gpu_day.known_clip import KnownClip, read_known_clip
from deepfake_triton.benchmarks.gpu_day.lines import FigureLines
from deepfake_triton.benchmarks.measure.environment import read_environment
from deepfake_triton.benchmarks.measure.load_generator import closed_loop
from deepfake_triton.cli_types import comma_separated
from deepfake_triton.client import DeepfakeClient, Transport
from deepfake_triton.errors import DeepfakeError
from deepfake_triton.serving.server import ServerOptions, TritonServer

SUMMARY = "serve a repository, compare its answers with known ones, and count clips a second"
MAX_DIFFERENCE = 0.02
"""Largest difference from the CPU's probability in FP32 at which speed means anything."""
_FIRST_REQUESTS = 5
_MOST_PROCESSES = 8


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `serve`."""
    parser.add_argument("repository", type=Path)
    parser.add_argument("clip", type=Path, help="what `clip` wrote")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE.jsonl", help="figures, appended")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each load (default: 5)")
    parser.add_argument(
        "--callers", type=comma_separated(int), default=(1, 8, 32), metavar="N,…", help="(default: 1,8,32)"
    )
    parser.add_argument(
        "--transports",
        type=comma_separated(Transport),
        default=(Transport.SHARED_MEMORY, Transport.GRPC),
        metavar="NAME,…",
        help="(default: shared-memory,grpc)",
    )


def run(args: argparse.Namespace) -> int:
    """Serve, compare and measure; 1 where the answers differ."""
    cv2.setNumThreads(1)  # a caller's pictures are small, and there are many callers
    clip = read_known_clip(args.clip)
    lines = FigureLines(args.output, repository=args.repository.name)
    lines.add("environment", **read_environment().to_json())
    began = time.monotonic()
    options = ServerOptions(args.repository, grpc_port=0, http_port=0, metrics_port=0, log_level="warning")
    with TritonServer(options) as server:
        lines.add("started", seconds=round(time.monotonic() - began, 1))
        is_right = _compare(server, clip, lines)
        for transport in args.transports:
            for callers in args.callers:
                try:
                    _measure(server, clip, lines, transport=transport, callers=callers, seconds=args.seconds)
                except DeepfakeError as error:  # the next figure is worth having
                    lines.add("load", transport=transport.value, callers=callers, reason=str(error))
    return 0 if is_right else 1


def _compare(server: TritonServer, clip: KnownClip, lines: FigureLines) -> bool:
    """Compare the first answers after the start, and time them."""
    latencies_ms, probabilities = [], []
    with DeepfakeClient(server.url) as client:
        for _ in range(_FIRST_REQUESTS):
            sent = time.perf_counter()
            faces = client.faces(clip.frames)
            latencies_ms.append(round(1000 * (time.perf_counter() - sent), 2))
            probabilities.append([face.fake_probability for face in faces])
    found = [clip.worst_difference(answer) for answer in probabilities]
    is_right = all(worst is not None and worst <= MAX_DIFFERENCE for worst in found)
    lines.add(
        "parity",
        passed=is_right,
        worst_difference=found,
        probabilities=probabilities[0],
        expected=clip.probabilities.tolist(),
        first_requests_ms=latencies_ms,
    )
    return is_right


def _measure(
    server: TritonServer,
    clip: KnownClip,
    lines: FigureLines,
    *,
    transport: Transport,
    callers: int,
    seconds: float,
) -> None:
    point = closed_loop(
        server.url,
        clip.frames,
        callers=callers,
        seconds=seconds,
        transport=transport,
        server_pid=server.process.pid,
        processes=min(callers, _MOST_PROCESSES),
    )
    figures = {key: value for key, value in point.to_json().items() if not key.endswith("samples_ms")}
    figures["warm_up_ms"] = max(point.warm_up_ms, default=None)
    lines.add("load", transport=transport.value, frames=len(clip.frames), **figures)

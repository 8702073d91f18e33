"""`bench load`: latency and throughput for concurrent callers, and for request rates."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepfake_triton.benchmarks.measure.first_requests import FirstRequest, first_requests
from deepfake_triton.benchmarks.measure.load_generator import closed_loop, open_loop
from deepfake_triton.benchmarks.measure.load_points import ClosedLoopPoint, OpenLoopPoint
from deepfake_triton.benchmarks.measure.perf_analyzer import PerfAnalyzerPoint, measure_with_perf_analyzer
from deepfake_triton.benchmarks.suite.benchmark import (
    Benchmark,
    markdown_table,
)
from deepfake_triton.benchmarks.suite.clips import bench_clip, mixed_clips
from deepfake_triton.client import FrameBatch, Transport
from deepfake_triton.console.progress import track_progress
from deepfake_triton.errors import MissingDependency
from deepfake_triton.json_object import JsonObject
from deepfake_triton.preprocessing.video.clip import decode_clip
from deepfake_triton.serving.server import ServerOptions, TritonServer

logger = logging.getLogger(__name__)

MAX_DIFFERENCE = 0.15
"""Two tools that measure the same should differ by no more."""


@dataclass(frozen=True)
class LoadResult:
    """Points of both loops, and of perf_analyzer and clips of mixed sizes where they were asked for."""

    transport: str
    peak_per_second: float
    closed_loop: tuple[ClosedLoopPoint, ...]
    open_loop: tuple[OpenLoopPoint, ...]
    perf_analyzer: tuple[PerfAnalyzerPoint, ...] | None = None
    perf_analyzer_reason: str | None = None
    """Why perf_analyzer did not run."""
    mixed_sizes: tuple[FirstRequest, ...] | None = None
    """In the order in which the fresh server met them."""

    def to_json(self) -> JsonObject:
        """Return the JSON form."""
        data: dict[str, Any] = {
            "transport": self.transport,
            "peak_a_second": self.peak_per_second,
            "closed_loop": [point.to_json() for point in self.closed_loop],
            "open_loop": [point.to_json() for point in self.open_loop],
        }
        if self.perf_analyzer is not None:
            data["perf_analyzer"] = [point.to_json() for point in self.perf_analyzer]
        if self.perf_analyzer_reason is not None:
            data["perf_analyzer_reason"] = self.perf_analyzer_reason
        if self.mixed_sizes is not None:
            data["mixed_sizes"] = [kind.to_json() for kind in self.mixed_sizes]
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> LoadResult:
        """Read the JSON form."""
        points, mixed = data.get("perf_analyzer"), data.get("mixed_sizes")
        return cls(
            transport=data["transport"],
            peak_per_second=data["peak_a_second"],
            closed_loop=tuple(map(ClosedLoopPoint.from_json, data["closed_loop"])),
            open_loop=tuple(map(OpenLoopPoint.from_json, data["open_loop"])),
            perf_analyzer=None if points is None else tuple(map(PerfAnalyzerPoint.from_json, points)),
            perf_analyzer_reason=data.get("perf_analyzer_reason"),
            mixed_sizes=None if mixed is None else tuple(map(FirstRequest.from_json, mixed)),
        )

    def table(self) -> list[str]:
        """Return the lines of two or three Markdown tables."""
        lines = [*_closed_loop_table(self.closed_loop), "", *_open_loop_table(self.open_loop)]
        if self.perf_analyzer:
            rows = [
                [
                    point.callers,
                    point.perf_analyzer_per_second,
                    point.ours_per_second,
                    f"{point.difference:+.0%}",
                ]
                for point in self.perf_analyzer
            ]
            lines += [
                "",
                *markdown_table(["callers", "perf_analyzer, clips/s", "ours, clips/s", "difference"], rows),
            ]
        elif self.perf_analyzer_reason:
            lines += ["", f"perf_analyzer was not run: {self.perf_analyzer_reason}."]
        if self.mixed_sizes:
            lines += ["", *_mixed_sizes_table(self.mixed_sizes)]
        return lines

    def plot(self, figure: Any) -> None:
        """Draw latency against throughput, a line for each percentile."""
        axis = figure.subplots()
        points = [(point, point.latency) for point in self.closed_loop if point.latency]
        rates = [point.clips_per_second for point, _ in points]
        for label in ("p50", "p95", "p99"):
            values = [getattr(latency, f"{label}_ms") for _, latency in points]
            axis.plot(rates, values, marker="o", label=label)
        for point, latency in points:
            place = (point.clips_per_second, latency.p99_ms)
            axis.annotate(str(point.callers), place, textcoords="offset points", xytext=(4, 4), fontsize=8)
        axis.set(
            xlabel="clips/s",
            ylabel="ms",
            title="latency against throughput, by callers",
            ylim=(0, None),
        )
        axis.legend()


def _closed_loop_table(points: Sequence[ClosedLoopPoint]) -> list[str]:
    head = ["callers", "clips/s", "p50 ms", "p95 ms", "p99 ms", "refused"]
    head += ["detector: frames×batches", "server MiB"]
    rows = []
    for point in points:
        latency = point.latency
        percentiles = (latency.p50_ms, latency.p95_ms, latency.p99_ms) if latency else ("", "", "")
        batches = ", ".join(f"{size}×{count}" for size, count in point.batches["face_detector"].items())
        memory = point.usage["server"].memory_mib if "server" in point.usage else ""
        rows.append([point.callers, point.clips_per_second, *percentiles, point.refused, batches, memory])
    return markdown_table(head, rows)


def _open_loop_table(points: Sequence[OpenLoopPoint]) -> list[str]:
    rows = []
    for point in points:
        percentiles = (point.latency.p50_ms, point.latency.p95_ms) if point.latency else ("", "")
        outcomes = ", ".join(f"{name} {count}" for name, count in point.outcomes.items())
        rows.append([point.requests_per_second, point.answers_per_second, *percentiles, outcomes])
    return markdown_table(["requests/s", "answers/s", "p50 ms", "p95 ms", "outcomes"], rows)


def _mixed_sizes_table(kinds: Sequence[FirstRequest]) -> list[str]:
    rows = [
        [kind.clip, kind.faces, kind.first_ms, kind.later_median_ms, f"{kind.ratio:.2f}"] for kind in kinds
    ]
    return markdown_table(["clip", "faces found", "first ms", "later ms, median", "ratio"], rows)


def run(args: argparse.Namespace) -> LoadResult:
    """Start a server of the repository, and measure each number of callers, then each rate."""
    with bench_clip(args.video) as video:
        clip = decode_clip(video).frames
    transport = Transport(args.transport)
    with TritonServer(ServerOptions.on_free_ports(args.repository)) as server:
        mixed = first_requests(server.url, mixed_clips(), transport=transport) if args.mixed_sizes else None
        closed = [
            closed_loop(
                server.url,
                clip,
                callers=callers,
                seconds=args.seconds,
                transport=transport,
                server_pid=server.process.pid,
            )
            for callers in track_progress(args.callers, "callers at once", "points")
        ]
        peak = max(point.clips_per_second for point in closed)
        opened = [
            open_loop(
                server.url,
                clip,
                requests_per_second=share * peak,
                seconds=args.seconds,
                transport=transport,
                timeout_s=args.timeout,
            )
            for share in track_progress(args.shares, "request rates", "points")
        ]
        points, reason = None, None
        if args.perf_analyzer:
            unrefused = [point.callers for point in closed if not point.refused]
            try:
                points = _second_opinion(
                    args.perf_analyzer, server.url, clip, callers=unrefused, seconds=args.seconds
                )
            except MissingDependency as error:
                reason = str(error)
    return LoadResult(transport.value, peak, tuple(closed), tuple(opened), points, reason, mixed)


def _second_opinion(
    executable: Path, url: str, clip: FrameBatch, *, callers: Sequence[int], seconds: float
) -> tuple[PerfAnalyzerPoint, ...]:
    """Measure the same points with perf_analyzer. Raises MissingDependency where it does not run."""

    def clips_per_second(count: int) -> float:
        point = closed_loop(
            url, clip, callers=count, seconds=seconds, transport=Transport.GRPC, server_pid=None
        )
        return point.clips_per_second

    points = measure_with_perf_analyzer(
        executable, url, clip, callers=callers, clips_per_second=clips_per_second
    )
    for point in points:
        if abs(point.difference) > MAX_DIFFERENCE:
            logger.warning(
                "%d callers: ours differs from perf_analyzer's by %+.0f%%: measure again on a quieter "
                "machine",
                point.callers,
                100 * point.difference,
            )
    return tuple(points)


BENCHMARK = Benchmark(run, LoadResult.from_json)

"""`bench scaling`: how the cost of a clip grows, one factor at a time."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterator, Mapping, Sequence, Sized
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from deepfake_triton.benchmarks.measure.back_to_back import send_back_to_back
from deepfake_triton.benchmarks.measure.load_generator import UsageMeter
from deepfake_triton.benchmarks.measure.timing import Percentiles, round_values
from deepfake_triton.benchmarks.suite.benchmark import BLUE, Benchmark, markdown_table
from deepfake_triton.benchmarks.suite.clips import MixedKind, bench_video, frames_of_kind
from deepfake_triton.client import DeepfakeClient, RetryPolicy, Transport
from deepfake_triton.console.progress import track_progress
from deepfake_triton.contracts import DEFAULT_FRAMES
from deepfake_triton.json_object import JsonObject
from deepfake_triton.serving.server import ServerOptions, TritonServer

FACTORS = ("callers", "frames", "faces", "lines", "cores")
_HEIGHT, _WIDTH = 360, 640
_TIMEOUT_S = 300.0
"""Of a request: with 64 callers most of it is waiting."""


@dataclass(frozen=True)
class ScalingPoint:
    """One value of one factor, all others at their base: one caller, 20 frames of 640x360 px, one face, all
    cores.

    `lines` are heights of a video file, whose decoding and scaling counts; elsewhere frames are at hand.
    `cores` are those of client and server together.
    """

    factor: str
    value: int
    faces_found: int
    clips_per_second: float
    latency: Percentiles | None
    refused: int
    server_cpu_s_per_clip: float
    samples_ms: tuple[float, ...]

    def to_json(self) -> JsonObject:
        """Return the JSON form."""
        return {
            "factor": self.factor,
            "value": self.value,
            "faces_found": self.faces_found,
            "clips_a_second": self.clips_per_second,
            **(self.latency.to_json() if self.latency else {}),
            "refused": self.refused,
            "server_cpu_s_a_clip": self.server_cpu_s_per_clip,
            "samples_ms": list(self.samples_ms),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ScalingPoint:
        """Read the JSON form."""
        return cls(
            data["factor"],
            data["value"],
            data["faces_found"],
            data["clips_a_second"],
            Percentiles.from_json(data),
            data["refused"],
            data["server_cpu_s_a_clip"],
            tuple(data["samples_ms"]),
        )


@dataclass(frozen=True)
class ScalingResult:
    """Points by factor, in the order in which they were measured."""

    transport: str
    points: tuple[ScalingPoint, ...]

    def to_json(self) -> JsonObject:
        """Return the JSON form."""
        return {"transport": self.transport, "points": [point.to_json() for point in self.points]}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ScalingResult:
        """Read the JSON form."""
        return cls(data["transport"], tuple(map(ScalingPoint.from_json, data["points"])))

    def of_factor(self, factor: str) -> tuple[ScalingPoint, ...]:
        """The points of a factor."""
        return tuple(point for point in self.points if point.factor == factor)

    def table(self) -> list[str]:
        """Return the lines of a Markdown table; throughput is also compared with each factor's first line."""
        rows = []
        for factor in FACTORS:
            points = self.of_factor(factor)
            for point in points:
                latency, first = point.latency, points[0].clips_per_second
                percentiles = (latency.p50_ms, latency.p95_ms) if latency else ("", "")
                times = f"{point.clips_per_second / first:.2f}" if first else ""
                row = [factor, point.value, point.faces_found, point.clips_per_second, times, *percentiles]
                rows.append([*row, point.server_cpu_s_per_clip, point.refused])
        head = ["factor", "value", "faces found", "clips/s", "times the first", "p50 ms", "p95 ms"]
        base = f"one caller, {DEFAULT_FRAMES} frames of {_WIDTH}x{_HEIGHT} px, one face, all cores"
        note = f"One factor at a time, otherwise {base}; {self.transport}."
        return [note, "", *markdown_table([*head, "server CPU s a clip", "refused"], rows)]

    def plot(self, figure: Any) -> None:
        """Draw clips a second against each factor."""
        drawn = [factor for factor in FACTORS if len(self.of_factor(factor)) > 1]
        axes = figure.subplots(1, max(1, len(drawn)), squeeze=False)[0]
        for axis, factor in zip(axes, drawn, strict=False):
            points = self.of_factor(factor)
            axis.plot([p.value for p in points], [p.clips_per_second for p in points], marker="o", color=BLUE)
            axis.set(xlabel=factor, ylim=(0, None))
        axes[0].set_ylabel("clips/s")


@dataclass(frozen=True)
class _Measuring:
    """A server that is asked by points."""

    server: TritonServer
    transport: Transport
    seconds: float

    def point(
        self, factor: str, value: int, ask: Callable[[DeepfakeClient], Sized], *, callers: int = 1
    ) -> ScalingPoint:
        """Ask for the faces of a clip for `seconds`, after a third of that as warm-up."""
        once = RetryPolicy(attempts=1)
        with DeepfakeClient(
            self.server.url, transport=self.transport, timeout_s=_TIMEOUT_S, retry=once, max_in_flight=callers
        ) as client:
            faces_found = len(ask(client))
            send_back_to_back(lambda: ask(client), callers, seconds=self.seconds / 3)
            meter = UsageMeter(self.server.process.pid)
            answers = send_back_to_back(lambda: ask(client), callers, seconds=self.seconds)
            usage = meter.read()["server"]
        count = len(answers.latencies_ms)
        return ScalingPoint(
            factor,
            value,
            faces_found,
            round(count / answers.elapsed_s, 3),
            Percentiles.from_values(answers.latencies_ms),
            answers.refused,
            round(usage.cpu_s / count, 3) if count else 0.0,
            round_values(answers.latencies_ms, 2),
        )

    def of_frames(self, factor: str, value: int, kind: MixedKind, *, callers: int = 1) -> ScalingPoint:
        """Ask with frames that are at hand."""
        frames = frames_of_kind(kind)
        return self.point(factor, value, lambda client: client.faces(frames), callers=callers)

    def of_video(self, lines: int) -> ScalingPoint:
        """Ask with a file, of which one window is judged."""
        with bench_video(16 * lines // 9, lines) as path:
            return self.point("lines", lines, lambda client: client.detect(path).faces)


def run(args: argparse.Namespace) -> ScalingResult:
    """Start a server of the repository, and measure each value of each factor; then one for each number of
    cores."""
    transport, points = Transport(args.transport), []
    with TritonServer(ServerOptions.on_free_ports(args.repository)) as server:
        measuring = _Measuring(server, transport, args.seconds)
        for callers in track_progress(args.callers, "callers at once", "points"):
            points.append(measuring.of_frames("callers", callers, _base(), callers=callers))
        for frames in track_progress(args.frames, "frames of a clip", "points"):
            points.append(measuring.of_frames("frames", frames, _base(frames=frames)))
        for faces in track_progress(args.faces, "faces in a frame", "points"):
            points.append(measuring.of_frames("faces", faces, _base(faces=faces)))
        points += [measuring.of_video(lines) for lines in track_progress(args.lines, "resolutions", "points")]
    for cores in track_progress(args.cores or doubling(len(os.sched_getaffinity(0))), "cores", "points"):
        with _on_cores(cores), TritonServer(ServerOptions.on_free_ports(args.repository)) as server:
            points.append(_Measuring(server, transport, args.seconds).of_frames("cores", cores, _base()))
    return ScalingResult(transport.value, tuple(points))


def doubling(cores: int) -> Sequence[int]:
    """Return 1, 2, 4 and so on, and the number of cores itself."""
    return sorted({*(2**power for power in range(cores.bit_length()) if 2**power < cores), cores})


def _base(*, frames: int = DEFAULT_FRAMES, faces: int = 1) -> MixedKind:
    return MixedKind("16:9", _HEIGHT, _WIDTH, faces=faces, frames=frames)


@contextmanager
def _on_cores(number: int) -> Iterator[None]:
    """Leave this process, and what it starts, the first so many of its cores."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, set(sorted(allowed)[:number]))
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


BENCHMARK = Benchmark(run, ScalingResult.from_json)

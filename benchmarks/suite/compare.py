"""`bench compare`: this server against the baselines on the same clips, weights and cores, interleaved."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from deepfake_triton.benchmarks.baselines.labels import REFERENCE
from deepfake_triton.benchmarks.measure.comparison import PathResult, compare_paths
from deepfake_triton.benchmarks.measure.timing import Ratio
from deepfake_triton.benchmarks.options import QUICK_ROUNDS, QUICK_SECONDS
from deepfake_triton.benchmarks.suite.benchmark import (
    BLUE,
    GRAY,
    RED,
    Benchmark,
    markdown_table,
)
from deepfake_triton.benchmarks.suite.clips import bench_clip
from deepfake_triton.contracts import DEFAULT_FRAMES
from deepfake_triton.json_object import JsonObject


@dataclass(frozen=True)
class CompareResult:
    """All paths by name, the reference first."""

    video: str
    frames: int
    callers: int
    paths: Mapping[str, PathResult]
    left_out: Mapping[str, str] = field(default_factory=dict)
    """Reasons by name."""

    def to_json(self) -> JsonObject:
        """Return the JSON form."""
        return {
            "video": self.video,
            "frames": self.frames,
            "callers": self.callers,
            "left_out": dict(self.left_out),
            "paths": {name: path.to_json() for name, path in self.paths.items()},
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> CompareResult:
        """Read the JSON form."""
        return cls(
            video=data["video"],
            frames=data["frames"],
            callers=data["callers"],
            paths={name: PathResult.from_json(path) for name, path in data["paths"].items()},
            left_out=data.get("left_out", {}),
        )

    def table(self) -> list[str]:
        """Return the lines of a Markdown table."""
        head = ["path", "same verdict", "ms", "times as long as this server", "callers", "clips/s"]
        head.append("this server's throughput, times")
        rows = [
            [
                name,
                "yes" if path.same_verdict else f"**no** ({path.probability})",
                f"{path.latency.median_ms:.0f}" if path.latency else "–",
                path.latency_ratio.text if path.latency_ratio else "–",
                path.callers,
                f"{median(path.clips_per_second):.2f}",
                path.throughput_ratio.text if path.throughput_ratio else "–",
            ]
            for name, path in self.paths.items()
        ]
        rounds = len(self.paths[REFERENCE].clips_per_second)
        about = (
            f"{self.video}, {self.frames} frames. In brackets: 95 % intervals, by bootstrap over rounds "
            f"({rounds} for throughput)."
        )
        left_out = [f"- {name} is left out: {reason}" for name, reason in self.left_out.items()]
        cpu = [
            f"- {name}: {path.cpu_seconds_per_clip * 1000:.0f} ms of CPU a clip, without the server's"
            for name, path in self.paths.items()
            if path.cpu_seconds_per_clip
        ]
        notes = [*cpu, *left_out]
        return [about, "", *markdown_table(head, rows), *(["", *notes] if notes else [])]

    def plot(self, figure: Any) -> None:
        """Draw both ratios with their intervals; gray where the interval holds 1."""
        figure.set_size_inches(11, max(4.5, 0.36 * len(self.paths) + 1.2))
        left, right = figure.subplots(1, 2, sharey=True)
        paths = {name: path for name, path in self.paths.items() if path.throughput_ratio}
        names = list(paths)[::-1]
        left_title = "one caller: times as long as this server"
        _plot_ratios(left, [paths[name].latency_ratio for name in names], left_title)
        right_title = f"{self.callers} callers: this server's throughput, times"
        _plot_ratios(right, [paths[name].throughput_ratio for name in names], right_title)
        left.set_yticks(range(len(names)), names)
        figure.supxlabel("right of 1, this server is faster; gray: no difference", fontsize=9)


def _plot_ratios(axis: Any, ratios: Sequence[Ratio | None], title: str) -> None:
    for row, ratio in enumerate(ratios):
        if ratio is None:
            continue
        color = GRAY if ratio.low <= 1 <= ratio.high else BLUE if ratio.value > 1 else RED
        axis.plot([ratio.low, ratio.high], [row, row], color=color, linewidth=2)
        axis.plot(ratio.value, row, marker="o", color=color)
    axis.axvline(1, color="black", linewidth=0.8)
    axis.set_xscale("log")
    axis.set_xticks((0.5, 1, 2, 5, 10, 20, 50))
    axis.xaxis.set_major_formatter("{x:g}")
    axis.xaxis.set_minor_formatter("")
    axis.set_title(title, fontsize=9)


def run(args: argparse.Namespace) -> CompareResult:
    """Start a server of the repository and all baselines, and measure them."""
    from deepfake_triton.benchmarks.baselines.all_baselines import open_baselines

    with (
        bench_clip(args.video) as video,
        open_baselines(
            args.repository,
            also=args.also,
            servers=args.also_server,
            checkpoint=args.checkpoint,
            published=not args.no_published,
        ) as opened,
    ):
        paths = compare_paths(
            opened.url,
            opened.paths,
            video,
            rounds=min(args.rounds, QUICK_ROUNDS) if args.quick else args.rounds,
            seconds=min(args.seconds, QUICK_SECONDS) if args.quick else args.seconds,
            callers=args.callers,
        )
    return CompareResult(video.name, DEFAULT_FRAMES, args.callers, paths, opened.left_out)


BENCHMARK = Benchmark(run, CompareResult.from_json)

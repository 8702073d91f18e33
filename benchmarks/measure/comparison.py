"""Latency, throughput and verdict of several paths from a video to a probability, interleaved."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from deepfake_triton.benchmarks.baselines.baseline import Baseline
from deepfake_triton.benchmarks.baselines.labels import REFERENCE
from deepfake_triton.benchmarks.measure.timing import Ratio, Timing, interleave, ratio_of_medians
from deepfake_triton.client import DeepfakeClient
from deepfake_triton.console.progress import track_progress
from deepfake_triton.errors import InputError
from deepfake_triton.json_object import JsonObject
from deepfake_triton.operating_point import OperatingPoint


@dataclass(frozen=True)
class PathResult:
    """Verdict, latency and throughput of one path; ratios only where its verdict is the reference's."""

    probability: float
    same_verdict: bool
    callers: int
    clips_per_second: tuple[float, ...]
    """Throughput in each round."""
    latency: Timing | None = None
    latency_ratio: Ratio | None = None
    """This path's latency over the reference's: over 1, the reference is faster."""
    throughput_ratio: Ratio | None = None
    """The reference's throughput over this path's: over 1, the reference does more."""
    cpu_seconds_per_clip: float | None = None
    """CPU time of the path's own processes, the server's not, where it was measured."""

    def to_json(self) -> JsonObject:
        """Return the JSON form."""
        optional = {
            "latency": self.latency,
            "reference_is_faster": self.latency_ratio,
            "reference_throughput": self.throughput_ratio,
        }
        cpu = {"cpu_seconds_per_clip": self.cpu_seconds_per_clip} if self.cpu_seconds_per_clip else {}
        return {
            "probability": self.probability,
            "same_verdict": self.same_verdict,
            "callers": self.callers,
            "throughput_a_second": list(self.clips_per_second),
            **{name: value.to_json() for name, value in optional.items() if value},
            **cpu,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> PathResult:
        """Read the JSON form."""
        latency, ratio = data.get("latency"), data.get("reference_is_faster")
        throughput = data.get("reference_throughput")
        return cls(
            probability=data["probability"],
            same_verdict=data["same_verdict"],
            callers=data["callers"],
            clips_per_second=tuple(data["throughput_a_second"]),
            latency=Timing.from_json(latency) if latency else None,
            latency_ratio=Ratio.from_json(ratio) if ratio else None,
            throughput_ratio=Ratio.from_json(throughput) if throughput else None,
            cpu_seconds_per_clip=data.get("cpu_seconds_per_clip"),
        )


def compare_paths(
    url: str, paths: Sequence[Baseline], video: Path, *, rounds: int, seconds: float, callers: int
) -> dict[str, PathResult]:
    """Measure latency with one caller, and throughput with `callers`, interleaving all paths.

    `paths` begin with the reference, the server at `url`. Raises InputError for a video without a face.
    """
    reference = paths[0].predict(video)
    if math.isnan(reference):
        raise InputError(f"{video}: shows no face, so that there is nothing to compare")
    probabilities = {path.name: path.predict(video) for path in track_progress(paths, "verdicts", "paths")}
    with DeepfakeClient(url) as client:
        thresholds = client.model().thresholds
    agree = {
        path.name: agrees(probabilities[path.name], reference, thresholds, is_two_way=path.is_two_way)
        for path in paths
    }
    timings = _time_paths(paths, video, rounds)
    throughputs = _throughputs(paths, video, callers=callers, seconds=seconds, rounds=max(2, rounds // 2))
    return {
        path.name: path_result(
            path,
            probability=round(probabilities[path.name], 4),
            same_verdict=agree[path.name],
            callers=path.callers or callers,
            timings=timings,
            throughputs=throughputs,
        )
        for path in paths
    }


def agrees(probability: float, reference: float, point: OperatingPoint, *, is_two_way: bool = False) -> bool:
    """Whether both give the same verdict at the operating point; NaN gives none. A path that `is_two_way`
    knows no uncertain one."""
    if math.isnan(probability):
        return False
    if is_two_way:
        return point.is_fake(probability) == point.is_fake(reference)
    return point.verdict_on(probability) == point.verdict_on(reference)


def path_result(
    path: Baseline,
    *,
    probability: float,
    same_verdict: bool,
    callers: int,
    timings: Mapping[str, Timing],
    throughputs: Mapping[str, Sequence[float]],
) -> PathResult:
    """Compare one path with the reference; without ratios where its verdict differs."""
    own, reference = throughputs[path.name], throughputs[REFERENCE]
    latency = timings.get(path.name)
    latency_ratio = throughput_ratio = None
    if same_verdict and path.name != REFERENCE:
        throughput_ratio = ratio_of_medians(reference, own)
        if latency:
            beside = timings.get(_reference_beside(path), timings[REFERENCE])
            latency_ratio = ratio_of_medians(latency.values_ms, beside.values_ms)
    return PathResult(
        probability=probability,
        same_verdict=same_verdict,
        callers=callers,
        clips_per_second=tuple(round(rate, 4) for rate in own),
        latency=latency,
        latency_ratio=latency_ratio,
        throughput_ratio=throughput_ratio,
        cpu_seconds_per_clip=path.cpu_seconds_per_clip and round(path.cpu_seconds_per_clip(), 4),
    )


def _reference_beside(path: Baseline) -> str:
    return f"{REFERENCE} beside {path.name}"


def _time_paths(paths: Sequence[Baseline], video: Path, rounds: int) -> dict[str, Timing]:
    timings = interleave(
        {
            path.name: partial(path.predict, video)
            for path in paths
            if not path.slow and path.clips_per_call == 1
        },
        rounds=rounds,
        warm_up=2,
    )
    for path in (path for path in paths if path.slow):
        pair = {
            path.name: partial(path.predict, video),
            _reference_beside(path): partial(paths[0].predict, video),
        }
        timings |= interleave(pair, rounds=max(3, rounds // 4), warm_up=1)
    return timings


def _throughputs(
    paths: Sequence[Baseline], video: Path, *, callers: int, seconds: float, rounds: int
) -> dict[str, list[float]]:
    """Return the clips per second of each path in each round, after a warm-up: a runtime prepares itself for
    each batch size when it first meets it."""
    rates: dict[str, list[float]] = {path.name: [] for path in paths}
    for path in track_progress(paths, "warming up", "paths"):
        _clips_per_second(path, video, path.callers or callers, seconds=seconds / 2)
    for number in track_progress(range(rounds), "throughput", "rounds"):
        shift = number % len(paths)
        for path in (*paths[shift:], *paths[:shift]):
            rate = _clips_per_second(path, video, path.callers or callers, seconds=seconds)
            rates[path.name].append(rate)
    return rates


def _clips_per_second(path: Baseline, video: Path, callers: int, *, seconds: float) -> float:
    answered = 0
    lock = threading.Lock()
    began = time.monotonic()

    def call() -> None:
        nonlocal answered
        while time.monotonic() < began + seconds:
            path.predict(video)
            with lock:
                answered += 1

    with ThreadPoolExecutor(callers) as pool:
        for job in [pool.submit(call) for _ in range(callers)]:
            job.result()
    return path.clips_per_call * answered / (time.monotonic() - began)

"""This server against what a user would pick instead: same clips, same weights, same cores, by turns."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from deepfake_triton.benchmarks.contenders import FRAMES, Contender, contenders
from deepfake_triton.benchmarks.names import REFERENCE
from deepfake_triton.benchmarks.samples import Samples, by_turns, ratio_of
from deepfake_triton.client import DeepfakeClient
from deepfake_triton.errors import InputError


def compare(
    repository: Path,
    video: Path,
    rounds: int,
    seconds: float,
    callers: int,
    published: bool,
    also: Sequence[Path] = (),
    servers: Sequence[tuple[str, str]] = (),
    checkpoint: Path | None = None,
) -> dict[str, Any]:
    """Latency with one caller and throughput with `callers`, each path alternating with all others.

    A path whose verdict differs from the reference's is reported without a ratio. Raises InputError for a
    video without a face.
    """
    with contenders(repository, also, servers, checkpoint, published) as (url, paths, left_out):
        reference = paths[0].judge(video)
        if math.isnan(reference):
            raise InputError(f"{video}: shows no face, so that there is nothing to compare")
        probabilities = {path.name: path.judge(video) for path in paths}
        with DeepfakeClient(url) as client:
            point = client.model().operating_point
        agree = {
            name: not math.isnan(value) and (value >= point) == (reference >= point)
            for name, value in probabilities.items()
        }
        latency = _latencies(paths, video, rounds)
        throughput = _throughputs(paths, video, callers, seconds, max(2, rounds // 2))
    return {
        "video": video.name,
        "frames": FRAMES,
        "callers": callers,
        "left_out": left_out,
        "paths": {
            path.name: {
                "probability": round(probabilities[path.name], 4),
                "same_verdict": agree[path.name],
                "callers": path.callers or callers,
                **measured(path, agree[path.name], latency, throughput),
            }
            for path in paths
        },
    }


def measured(
    path: Contender, agrees: bool, latency: dict[str, Samples], throughput: dict[str, list[float]]
) -> dict[str, Any]:
    """The samples, and how many times as fast the reference is where the answers are the same."""
    own, reference = throughput[path.name], throughput[REFERENCE]
    found: dict[str, Any] = {"throughput_a_second": [round(each, 4) for each in own]}
    comparable = agrees and path.name != REFERENCE
    if path.name in latency:
        found["latency"] = latency[path.name].as_dict()
        if comparable:
            beside = latency.get(_beside(path), latency[REFERENCE])
            ratio = ratio_of(latency[path.name].values_ms, beside.values_ms)
            found["reference_is_faster"] = ratio.as_dict()
    if comparable:
        found["reference_throughput"] = ratio_of(reference, own).as_dict()
    return found


def _beside(path: Contender) -> str:
    return f"{REFERENCE} beside {path.name}"


def _latencies(paths: list[Contender], video: Path, rounds: int) -> dict[str, Samples]:
    found = by_turns(
        {path.name: partial(path.judge, video) for path in paths if not path.slow and path.clips_a_call == 1},
        rounds,
        warm_up=2,
    )
    for path in (each for each in paths if each.slow):
        pair = {path.name: partial(path.judge, video), _beside(path): partial(paths[0].judge, video)}
        found |= by_turns(pair, max(3, rounds // 4), warm_up=1)
    return found


def _throughputs(
    paths: list[Contender], video: Path, callers: int, seconds: float, turns: int
) -> dict[str, list[float]]:
    """Clips a second in each turn of each path, after one that does not count: a runtime prepares itself for
    each batch size when it first meets it."""
    found: dict[str, list[float]] = {path.name: [] for path in paths}
    for path in paths:
        _throughput(path, video, path.callers or callers, seconds / 2)
    for number in range(turns):
        shift = number % len(paths)
        for path in paths[shift:] + paths[:shift]:
            found[path.name].append(_throughput(path, video, path.callers or callers, seconds))
    return found


def _throughput(path: Contender, video: Path, callers: int, seconds: float) -> float:
    answered, lock = [0], threading.Lock()
    began = time.monotonic()

    def ask() -> None:
        while time.monotonic() < began + seconds:
            path.judge(video)
            with lock:
                answered[0] += 1

    with ThreadPoolExecutor(callers) as pool:
        for job in [pool.submit(ask) for _ in range(callers)]:
            job.result()
    return path.clips_a_call * answered[0] / (time.monotonic() - began)

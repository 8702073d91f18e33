"""Read load figures from the results of `bench load`, and from the lines of `gpu_day serve`."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from deepfake_triton.benchmarks.measure.environment import Environment
from deepfake_triton.benchmarks.measure.load_points import ClosedLoopPoint, OpenLoopPoint
from deepfake_triton.benchmarks.suite.benchmark import SCHEMA_VERSION
from deepfake_triton.capacity.load_figures import TRANSPORTS, LoadFigures, LoadPoint
from deepfake_triton.contracts import MAX_FRAMES, face_detector
from deepfake_triton.errors import InvalidBenchmark

_ANSWERED = "answered"
_WRITES = "`deepfake-triton bench load` writes them"


def read_load_figures(path: Path) -> tuple[LoadFigures, ...]:
    """Return the figures in a file, one for each transport. Raises InvalidBenchmark."""
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidBenchmark(f"{path}: cannot be read: {error}") from error
    return load_figures_from_text(text, str(path))


def load_figures_from_text(text: str, source: str) -> tuple[LoadFigures, ...]:
    """Return the figures in the text of a file called `source`. Raises InvalidBenchmark."""
    documents = _documents(text, source)
    try:
        if "benchmark" in documents[0]:
            return (_figures_of_report(documents[0], source),)
        return _figures_of_lines(documents, source)
    except KeyError as error:
        raise InvalidBenchmark(
            f"{source}: got load figures without {error}, expected those of `deepfake-triton bench load`"
        ) from error
    except (TypeError, ValueError, AttributeError, OverflowError) as error:
        raise InvalidBenchmark(f"{source}: malformed load figures: {error}; measure again") from error


def _documents(text: str, source: str) -> Sequence[Mapping[str, Any]]:
    """Return the object of a JSON file, or those of its lines."""
    try:
        try:
            documents = [json.loads(text)]
        except ValueError:
            documents = [json.loads(line) for line in text.splitlines() if line.strip()]
    except (ValueError, RecursionError) as error:
        raise InvalidBenchmark(f"{source}: no JSON ({error}), expected load figures; {_WRITES}") from error
    keys = {"benchmark", "what"}
    if not documents or not all(isinstance(item, dict) and keys & item.keys() for item in documents):
        raise InvalidBenchmark(f"{source}: not the result of a benchmark, expected load figures; {_WRITES}")
    return documents


def _figures_of_report(data: Mapping[str, Any], source: str) -> LoadFigures:
    if data["benchmark"] != "load":
        raise InvalidBenchmark(
            f"{source}: got the benchmark {data['benchmark']!r}, expected `load`; {_WRITES}"
        )
    version = data.get("schema_version", SCHEMA_VERSION)
    if isinstance(version, bool) or not isinstance(version, int) or version > SCHEMA_VERSION:
        raise InvalidBenchmark(
            f"{source}: got schema version {version!r}, expected at most {SCHEMA_VERSION}; "
            "update deepfake-triton"
        )
    closed = [ClosedLoopPoint.from_json(point) for point in data["closed_loop"]]
    opened = [OpenLoopPoint.from_json(point) for point in data["open_loop"]]
    points = [*map(_closed_point, closed), *map(_open_point, opened)]
    return LoadFigures(
        source=Path(source).name,
        transport=_transport(data),
        environment=_environment(data["environment"]),
        points=_answered(points, source),
        frames=_frames(closed),
    )


def _figures_of_lines(lines: Sequence[Mapping[str, Any]], source: str) -> tuple[LoadFigures, ...]:
    """Return the figures behind the last environment: a second run appends to the file of the first."""
    starts = [number for number, line in enumerate(lines) if line["what"] == "environment"]
    if not starts:
        raise InvalidBenchmark(
            f"{source}: got figures without their environment, expected those of `gpu_day serve`"
        )
    environment, *later = lines[starts[-1] :]
    measured: dict[str, list[Mapping[str, Any]]] = {}
    for line in later:
        if line["what"] == "load" and "throughput_a_second" in line:
            measured.setdefault(_transport(line), []).append(line)
    if not measured:
        raise InvalidBenchmark(f"{source}: got no load point, expected those of `gpu_day serve`; {_WRITES}")
    started = next((_number(line["seconds"]) for line in later if line["what"] == "started"), None)
    return tuple(
        LoadFigures(
            source=Path(source).name,
            transport=transport,
            environment=_environment(environment),
            points=_answered([_line_point(line) for line in found], source),
            frames=_count(found[0]["frames"], 1, MAX_FRAMES),
            start_s=started,
            note=environment.get("clients"),
        )
        for transport, found in measured.items()
    )


def _closed_point(point: ClosedLoopPoint) -> LoadPoint | None:
    if point.latency is None:
        return None
    return _point(
        point.clips_per_second,
        (point.latency.p50_ms, point.latency.p99_ms),
        failed=_count(point.refused),
        callers=_count(point.callers, 1),
    )


def _open_point(point: OpenLoopPoint) -> LoadPoint | None:
    if point.latency is None:
        return None
    failed = sum(_count(count) for outcome, count in point.outcomes.items() if outcome != _ANSWERED)
    offered = _number(point.requests_per_second)
    return _point(
        min(_number(point.answers_per_second), offered),
        (point.latency.p50_ms, point.latency.p99_ms),
        failed=failed,
        requests_per_second=offered,
    )


def _line_point(line: Mapping[str, Any]) -> LoadPoint | None:
    if "p50_ms" not in line:
        return None
    return _point(
        line["throughput_a_second"],
        (line["p50_ms"], line["p99_ms"]),
        failed=_count(line["refused"]),
        callers=_count(line["callers"], 1),
    )


def _point(
    clips_per_second: float,
    latency_ms: tuple[float, float],
    *,
    failed: int,
    callers: int | None = None,
    requests_per_second: float | None = None,
) -> LoadPoint | None:
    """Return a checked point; None where nothing was answered."""
    rate, (p50_ms, p99_ms) = _number(clips_per_second), map(_number, latency_ms)
    if not rate:
        return None
    if not 0 < p50_ms <= p99_ms:
        raise ValueError(f"latencies of {p50_ms} ms (p50) and {p99_ms} ms (p99)")
    return LoadPoint(rate, p50_ms, p99_ms, failed, callers, requests_per_second)


def _answered(points: Sequence[LoadPoint | None], source: str) -> tuple[LoadPoint, ...]:
    found = tuple(point for point in points if point is not None)
    if not found:
        raise InvalidBenchmark(f"{source}: got no load point with an answered clip; {_WRITES}")
    return found


def _frames(closed: Sequence[ClosedLoopPoint]) -> int | None:
    """Return the frames of a clip: what a lone caller's detector got at once: nothing else was merged."""
    sizes = {
        size for point in closed if point.callers == 1 for size in point.batches.get(face_detector().name, {})
    }
    return sizes.pop() if len(sizes) == 1 and 1 <= min(sizes) <= MAX_FRAMES else None


def _transport(data: Mapping[str, Any]) -> str:
    name = data["transport"]
    if name not in TRANSPORTS:
        raise ValueError(f"transport {name!r}, expected one of {', '.join(TRANSPORTS)}")
    return str(name)


def _environment(data: Mapping[str, Any]) -> Environment:
    environment = Environment.from_json(data)
    _count(environment.cores, 1)
    if not isinstance(environment.cpu, str) or not isinstance(environment.gpu, str | None):
        raise ValueError("an environment whose CPU or GPU is no name")
    return environment


def _number(value: object) -> float:
    """Return a finite number of 0 or more. Raises ValueError."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise ValueError(f"got {value!r:.40}, expected a number of 0 or more")
    return float(value)


def _count(value: object, minimum: int = 0, maximum: int | None = None) -> int:
    """Return a whole number from `minimum` to `maximum`. Raises ValueError."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"got {value!r:.40}, expected a whole number")
    if value < minimum or (maximum is not None and value > maximum):
        raise ValueError(
            f"got {value}, expected {minimum} or more{f', at most {maximum}' if maximum else ''}"
        )
    return value

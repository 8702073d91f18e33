"""NVIDIA's perf_analyzer on the same server and the same clip, as a second opinion."""

from __future__ import annotations

import base64
import csv
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from deepfake_triton.client import FrameBatch
from deepfake_triton.contracts import FRAMES, deepfake_detector
from deepfake_triton.errors import MissingDependency
from deepfake_triton.json_object import JsonObject
from deepfake_triton.serving.installation.find import find_installation


@dataclass(frozen=True)
class PerfAnalyzerPoint:
    """Clips per second over raw gRPC by perf_analyzer and by ours, for one number of callers."""

    callers: int
    perf_analyzer_per_second: float
    ours_per_second: float
    difference: float
    """Difference of ours from perf_analyzer's, as a fraction of the latter."""

    def to_json(self) -> JsonObject:
        """Return the JSON form."""
        return {_JSON_KEYS.get(name, name): value for name, value in asdict(self).items()}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> PerfAnalyzerPoint:
        """Read the JSON form."""
        return cls(
            callers=data["callers"],
            perf_analyzer_per_second=data["perf_analyzer_a_second"],
            ours_per_second=data["ours_a_second"],
            difference=data["difference"],
        )


_JSON_KEYS = {
    "perf_analyzer_per_second": "perf_analyzer_a_second",
    "ours_per_second": "ours_a_second",
}


def measure_with_perf_analyzer(
    executable: Path,
    url: str,
    clip: FrameBatch,
    *,
    callers: Sequence[int],
    clips_per_second: Callable[[int], float],
) -> list[PerfAnalyzerPoint]:
    """Measure each number of callers by both.

    `clips_per_second` measures ours, before and after perf_analyzer, so that a drift of the machine cancels
    out. Raises MissingDependency where perf_analyzer does not run.
    """
    points = []
    with tempfile.TemporaryDirectory(prefix="deepfake-triton-bench-") as name:
        folder = Path(name)
        content = {"b64": base64.b64encode(clip.data.tobytes()).decode()}
        (folder / _CLIP_NAME).write_text(json.dumps({"data": [{FRAMES.name: content}]}))
        for count in callers:
            before = clips_per_second(count)
            theirs = _run_perf_analyzer(executable, _arguments(url, clip, folder, callers=count), folder)
            ours = (before + clips_per_second(count)) / 2
            points.append(
                PerfAnalyzerPoint(
                    callers=count,
                    perf_analyzer_per_second=round(theirs, 3),
                    ours_per_second=round(ours, 3),
                    difference=round(ours / theirs - 1, 4),
                )
            )
    return points


_CLIP_NAME, _OUTPUT_NAME = "clip.json", "measured.csv"


def _arguments(url: str, clip: FrameBatch, folder: Path, *, callers: int) -> list[str]:
    shape = ",".join(str(size) for size in clip.data.shape)
    return [
        "-m", deepfake_detector().name, "-i", "grpc", "-u", url, "--shape", f"{FRAMES.name}:{shape}",
        "--input-data", str(folder / _CLIP_NAME), "--concurrency-range", str(callers),
        "--measurement-mode", "count_windows",
        "--measurement-request-count", str(max(10, 4 * callers)), "--max-trials", "4",
        "--stability-percentage", "30", "-f", str(folder / _OUTPUT_NAME),
    ]  # fmt: skip


def _run_perf_analyzer(executable: Path, arguments: list[str], folder: Path) -> float:
    """Return the clips per second that it reports."""
    command, output = [str(executable), *arguments], folder / _OUTPUT_NAME
    output.unlink(missing_ok=True)
    try:
        done = subprocess.run(
            command, env=_environment(folder), capture_output=True, text=True, timeout=600, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise MissingDependency(f"{executable} does not run: {error}") from error
    if done.returncode or not output.exists():
        lines = [line for line in (done.stderr + done.stdout).splitlines() if line.strip()]
        raise MissingDependency(f"{executable} does not run: {lines[-1] if lines else done.returncode}")
    with output.open() as file:
        rows = list(csv.DictReader(file))
    if not rows or float(rows[0]["Inferences/Second"]) <= 0:
        raise MissingDependency(f"{executable} measured nothing")
    return float(rows[0]["Inferences/Second"])


def _environment(folder: Path) -> dict[str, str]:
    """Return its environment: the CUDA runtime that it links is in Triton's wheel under another name."""
    libraries = find_installation().libraries
    for cudart in libraries.glob("libcudart-*.so.12*"):
        shutil.copy(cudart, folder / "libcudart.so.12")
    return {**os.environ, "LD_LIBRARY_PATH": f"{folder}:{libraries}"}

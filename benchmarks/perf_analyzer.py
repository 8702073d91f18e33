"""NVIDIA's perf_analyzer on the same server and the same clip, as a second opinion."""

from __future__ import annotations

import base64
import csv
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from deepfake_triton.client import FrameBatch
from deepfake_triton.contracts import FRAMES, deepfake_detector
from deepfake_triton.errors import MissingDependency
from deepfake_triton.serving.installation import find_installation


def second_opinion(
    executable: Path,
    url: str,
    clip: FrameBatch,
    callers: Sequence[int],
    own: Callable[[int], float],
) -> list[dict[str, Any]]:
    """Clips a second over raw gRPC for each number of callers by both, and how far ours is from it.

    `own` measures ours, before and after perf_analyzer, so that a machine that changes its mind tells no
    difference. Raises MissingDependency where perf_analyzer does not run.
    """
    found = []
    with tempfile.TemporaryDirectory(prefix="deepfake-triton-bench-") as name:
        folder = Path(name)
        data = folder / "clip.json"
        content = {"b64": base64.b64encode(clip.data.tobytes()).decode()}
        data.write_text(json.dumps({"data": [{FRAMES.name: content}]}))
        for each in callers:
            before = own(each)
            theirs = _one(executable, url, clip, data, each, folder)
            ours = (before + own(each)) / 2
            found.append(
                {
                    "callers": each,
                    "perf_analyzer_a_second": round(theirs, 3),
                    "ours_a_second": round(ours, 3),
                    "difference": round(ours / theirs - 1, 4),
                }
            )
    return found


def _one(executable: Path, url: str, clip: FrameBatch, data: Path, callers: int, folder: Path) -> float:
    output = folder / f"{callers}.csv"
    shape = ",".join(str(size) for size in clip.data.shape)
    command: list[str] = [
        str(executable), "-m", deepfake_detector().name, "-i", "grpc", "-u", url,
        "--shape", f"{FRAMES.name}:{shape}",
        "--input-data", str(data), "--concurrency-range", str(callers), "--measurement-mode", "count_windows",
        "--measurement-request-count", str(max(10, 4 * callers)), "--max-trials", "4",
        "--stability-percentage", "30", "-f", str(output),
    ]  # fmt: skip
    try:
        done = subprocess.run(
            command, env=_environment(folder), capture_output=True, text=True, timeout=600, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise MissingDependency(f"{executable} does not run: {error}") from error
    if done.returncode or not output.exists():
        lines = [line for line in (done.stderr + done.stdout).splitlines() if line.strip()]
        raise MissingDependency(f"{executable} does not run: {lines[-1] if lines else done.returncode}")
    rows = list(csv.DictReader(output.open()))
    if not rows or float(rows[0]["Inferences/Second"]) <= 0:
        raise MissingDependency(f"{executable} measured nothing with {callers} callers")
    return float(rows[0]["Inferences/Second"])


def _environment(folder: Path) -> dict[str, str]:
    """It is linked against a CUDA runtime, of which the wheel of Triton has one under another name."""
    libraries = find_installation().libraries
    for cudart in libraries.glob("libcudart-*.so.12*"):
        shutil.copy(cudart, folder / "libcudart.so.12")
    return {**os.environ, "LD_LIBRARY_PATH": f"{folder}:{libraries}"}

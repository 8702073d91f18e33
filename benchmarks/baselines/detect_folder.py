"""The command `detect` on a folder, as people run it: a process of its own for each folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from deepfake_triton.errors import ServerError

CLIPS, JOBS = 32, 8
"""Clips of a folder, and how many of them at once: the command's own start is shared by so many."""


class DetectFolder:
    """`deepfake-triton detect FOLDER --jobs 8` on links to one video; a context manager."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._folder = tempfile.TemporaryDirectory(prefix="deepfake-triton-bench-")
        self._cpu_seconds: list[float] = []

    def predict(self, video: Path) -> float:
        """Judge a folder of CLIPS links to the video; return the highest probability of FAKE among them.

        Raises ServerError, with what the command said, where it fails.
        """
        folder = Path(self._folder.name) / video.stem
        folder.mkdir(exist_ok=True)
        for number in range(CLIPS):
            link = folder / f"{number:03}{video.suffix}"
            if not link.is_symlink():
                link.symlink_to(video.resolve())
        command = [sys.executable, "-m", "deepfake_triton", "detect", str(folder)]
        with (
            tempfile.TemporaryFile() as said,
            subprocess.Popen(
                [*command, "--url", self._url, "--jobs", str(JOBS), "--json"],
                stdout=subprocess.PIPE,
                stderr=said,
            ) as process,
        ):
            assert process.stdout is not None
            lines = process.stdout.read().splitlines()
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            if process.returncode or len(lines) != CLIPS:
                said.seek(0)
                raise ServerError(f"detect on {CLIPS} clips: {said.read().decode(errors='replace').strip()}")
        self._cpu_seconds.append((usage.ru_utime + usage.ru_stime) / CLIPS)
        return float(max(json.loads(line)["fake_probability"] for line in lines))

    def cpu_seconds_per_clip(self) -> float:
        """Return the CPU time of the command for a clip, its start included, the server's not: the least of
        all calls."""
        return min(self._cpu_seconds)

    def __enter__(self) -> DetectFolder:
        return self

    def __exit__(self, *_: object) -> None:
        self._folder.cleanup()

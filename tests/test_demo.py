"""The command behind `make demo`, twice."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

COMMAND = str(Path(sys.executable).with_name("deepfake-triton"))


def tritonservers() -> set[str]:
    return {
        entry.name
        for entry in Path("/proc").iterdir()
        if entry.name.isdecimal() and "tritonserver" in _command_line(entry)
    }


def _command_line(entry: Path) -> str:
    try:
        return (entry / "cmdline").read_text()
    except OSError:
        return ""


def test_the_demo_shows_a_verdict_and_leaves_nothing_running(tmp_path: Path) -> None:
    before = tritonservers()
    outputs = []
    for _ in range(2):
        started = time.monotonic()
        done = subprocess.run(
            [COMMAND, "demo", "--repository", "demo/repository"],
            cwd=tmp_path, capture_output=True, text=True, timeout=300, check=True,
        )  # fmt: skip
        outputs.append((done.stdout, done.stderr, time.monotonic() - started))
    assert tritonservers() <= before
    for out, _, _ in outputs:
        headline, face, *_ = out.splitlines()
        assert "carphone_pristine.mp4: " in headline and "means nothing" in headline
        assert face.startswith("  face 0") and "seen in 20 of 20 frames" in face
    assert "parity proven on 40 faces" in outputs[0][1]
    assert "there already" in outputs[1][1] and outputs[1][2] < 30

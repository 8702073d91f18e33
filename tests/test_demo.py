"""The command behind `make demo`, twice, as the Makefile calls it."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
import uuid
from pathlib import Path

COMMAND = str(Path(sys.executable).with_name("deepfake-triton"))


def marked(mark: str) -> list[str]:
    """Processes, of whatever name, that inherited `mark` in their environment."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with contextlib.suppress(OSError):
                if mark.encode() in (entry / "environ").read_bytes():
                    found.append((entry / "cmdline").read_text())
    return found


def test_the_demo_shows_a_clip_and_its_twin_and_leaves_nothing_running(tmp_path: Path) -> None:
    mark = f"DEMO_MARK={uuid.uuid4()}"
    environment = {**os.environ, "DEMO_MARK": mark.split("=")[1]}
    outputs = []
    for _ in range(2):
        started = time.monotonic()
        done = subprocess.run(
            [COMMAND, "demo", "--accelerator", "openvino", "--repository", "demo/repository"],
            cwd=tmp_path, capture_output=True, text=True, timeout=300, check=True, env=environment,
        )  # fmt: skip
        outputs.append((done.stdout, done.stderr, time.monotonic() - started))
    assert marked(mark) == []
    for out, _, _ in outputs:
        lines = out.splitlines()
        assert len(lines) == 8 and "means nothing" not in out
        for headline, face, name in (
            (*lines[:2], "carphone_pristine"),
            (*lines[4:6], "carphone_pristine-forged"),
        ):
            assert headline.startswith(f"{name}.mp4: ") and "probability of FAKE" in headline
            assert face.startswith("  face 0") and "seen in 20 of 20 frames" in face
        assert "default weights" in lines[2] and "default weights" in lines[6]
    assert "parity proven on 40 faces" in outputs[0][1]
    assert "there already" in outputs[1][1] and outputs[1][2] < 30

"""The command behind `make demo`, twice, as the Makefile calls it."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest
from page_blocks import commands_of, is_like
from paths import ROOT

pytestmark = pytest.mark.triton

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


def lines_shown_in_readme() -> list[str]:
    """The output that the README shows of `make demo`, without the line in which make says what it runs."""
    commands = commands_of((ROOT / "README.md").read_text(), marked=False)
    [demo] = [command for command in commands if command.line == "make demo"]
    return demo.shown.strip().splitlines()[1:]


def test_the_demo_shows_a_clip_and_its_twin_and_leaves_nothing_running(tmp_path: Path) -> None:
    mark = f"DEMO_MARK={uuid.uuid4()}"
    environment = {**os.environ, "DEMO_MARK": mark.split("=")[1]}
    outputs = []
    for _ in range(2):
        started = time.monotonic()
        done = subprocess.run(
            [COMMAND, "demo", "--accelerator", "openvino", "--repository", "build/demo/repository"],
            cwd=tmp_path, capture_output=True, text=True, timeout=300, check=True, env=environment,
        )  # fmt: skip
        outputs.append((done.stdout, done.stderr, time.monotonic() - started))
    assert marked(mark) == []
    for out, _, _ in outputs:
        lines = out.splitlines()
        assert len(lines) == 8 and "means nothing" not in out
        for headline, face, said in (
            (*lines[:2], "still_portrait.mp4: REAL, "),
            (*lines[4:6], "still_portrait-forged.mp4: FAKE, "),
        ):
            assert headline.startswith(said) and "probability of FAKE" in headline
            assert face.startswith("  face 0") and "seen in 20 of 20 frames" in face
        assert "default weights" in lines[2] and "default weights" in lines[6]
    assert "made from one still, not filmed" in outputs[0][1]
    assert "parity checked on 40 faces" in outputs[0][1]
    printed = [*outputs[0][0].splitlines(), *outputs[0][1].splitlines()]
    for shown in lines_shown_in_readme():
        assert any(is_like(shown, line) for line in printed), shown
    assert "there already" in outputs[1][1] and outputs[1][2] < outputs[0][2]

"""What a terminal shows while a command works, read from a real pseudo-terminal."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
from pseudo_terminal import on_terminal

from deepfake_triton.console import progress

pytestmark = pytest.mark.triton


WORK = """
import sys, time
from deepfake_triton.console.progress import pause_progress, show_progress, stage, track_progress

with show_progress():
    with stage("all", 3, "videos") as bar:
        for index in track_progress(range(3), "part [red]\\x1b[2J", "windows"):
            time.sleep(0.15)
            with pause_progress():
                print("line", index, flush=True)
            bar.advance()
    print("end")
"""


def screen(seen: str) -> list[str]:
    """The lines that stay, with what was erased taken out."""
    lines, row, column = [""], 0, 0
    parts = seen.replace("\x1b", "\0\x1b").split("\0")
    for part in parts:
        text = part
        if part.startswith("\x1b["):
            end = next(index for index, each in enumerate(part[2:], 2) if each.isalpha())
            code, text = part[2 : end + 1], part[end + 1 :]
            if code.endswith("A"):
                row -= int(code[:-1])
            elif code.endswith("K"):
                lines[row] = ""
        for character in text:
            if character == "\n":
                row += 1
                lines += [""] * (row + 1 - len(lines))
            elif character == "\r":
                column = 0
            else:
                lines[row] = lines[row].ljust(column)[:column] + character + lines[row][column + 1 :]
                column += 1
    return [line.rstrip() for line in lines if line.strip()]


def test_stages_show_how_far_and_how_long_and_leave_only_the_lines() -> None:
    seen, _ = on_terminal(WORK, stdout_too=True)
    assert "of 3 videos" in seen and "of 3 windows" in seen and " left" in seen
    assert r"part [red]\x1b[2J" in seen and "\x1b[2J" not in seen, "a name is text, not markup"
    assert screen(seen) == ["line 0", "line 1", "line 2", "end"]


def test_stdout_has_the_lines_alone() -> None:
    seen, out = on_terminal(WORK, stdout_too=False)
    assert out == "line 0\nline 1\nline 2\nend\n"
    assert "of 3 videos" in seen and screen(seen) == []


def test_nothing_shows_where_no_terminal_can() -> None:
    assert on_terminal(WORK, stdout_too=False, term="dumb")[0] == ""
    done = subprocess.run([sys.executable, "-c", WORK], capture_output=True, text=True, check=True)
    assert done.stderr == ""


def test_a_stage_of_no_time_within_another_is_seen() -> None:
    code = (
        "from deepfake_triton.console.progress import show_progress, stage\n"
        "with show_progress(), stage('long', 9):\n"
        "  with stage('brief'): pass\n"
    )
    seen, _ = on_terminal(code, stdout_too=True)
    assert "long" in seen and "brief" in seen


def test_ctrl_c_leaves_the_terminal_as_it_was() -> None:
    code = (
        "import time\nfrom deepfake_triton.console.progress import show_progress, stage\n"
        "try:\n  with show_progress(), stage('long', 9) as bar:\n"
        "    for _ in range(9): bar.advance(); time.sleep(5)\n"
        "except KeyboardInterrupt: print('interrupted')\n"
    )
    began = time.monotonic()
    seen, _ = on_terminal(code, stdout_too=True, interrupt=True)
    assert screen(seen) == ["interrupted"] and time.monotonic() - began < 40
    assert "\x1b[?25l" not in seen, "the cursor is never hidden, so that a killed run leaves it"


def test_a_library_call_shows_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    assert list(progress.track_progress(iter("abc"), "letters")) == ["a", "b", "c"]
    with progress.stage("silent", 2) as bar, progress.pause_progress():
        bar.advance()
        bar.update("other", done=2, total=4)
    assert not progress.is_progress_shown() and capfd.readouterr() == ("", "")


def test_forging_and_exporting_say_what_they_do(clip_path: Path, brief_clip: Path, tmp_path: Path) -> None:
    seen, _ = on_terminal(["forge", str(clip_path), "--output", str(tmp_path / "twin.mp4")], stdout_too=False)
    assert "finding the face" in seen and "forging" in seen and "s of video" in seen and " left" in seen
    seen, out = on_terminal(
        ["export", "--untrained", "--output", str(tmp_path / "repository"), "--parity", str(brief_clip)],
        stdout_too=False,
    )
    assert out.startswith("wrote version 1")
    for words in ("export: graphs", "export: fp32", "of 3 steps", "batch sizes", "timing a clip"):
        assert words in seen, words

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepfake_triton import cli
from deepfake_triton.console.terminal import printable

pytestmark = pytest.mark.fast


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("clip.mp4", "clip.mp4"),
        ("Ünï 動画.mp4", "Ünï 動画.mp4"),
        ("a\nb: FAKE", r"a\nb: FAKE"),
        ("\x1b[2J\r", r"\x1b[2J\r"),
        ("a\u202egpm.4pm", r"a\u202egpm.4pm"),
        ("\u2028\x85", r"\u2028\x85"),
    ],
)
def test_names_cannot_forge_a_terminals_lines(name: str, shown: str) -> None:
    assert printable(name) == shown


@given(st.text())
def test_what_is_shown_is_one_line_of_visible_characters(text: str) -> None:
    shown = printable(text)
    assert len(shown.splitlines()) <= 1 and "\x1b" not in shown
    assert len(shown) >= len(text)


def test_an_error_with_such_a_name_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    ports = ("--grpc-port=0", "--http-port=0", "--metrics-port=0")
    assert cli.main(["serve", "no\nsuch\x1b[31mfolder", *ports]) == 1
    assert capsys.readouterr().err.startswith(r"deepfake-triton: no\nsuch\x1b[31mfolder: no such folder")

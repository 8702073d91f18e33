"""What a stranger's text loses before it is shown."""

from __future__ import annotations

import pytest

from deepfake_triton.console.hidden_characters import without_hidden

pytestmark = pytest.mark.fast


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("clip one.mp4", "clip one.mp4"),
        ("\u202egpj.exe", "gpj.exe"),
        ("a\r\nb\x1b[31m\x7f\x9b", "ab[31m"),
        ("\u2028a\u2029\ufeff\u200b\udcff", "a"),
        ("क्\u200cष 👩\u200d🚒 日本 é", "क्\u200cष 👩\u200d🚒 日本 é"),
    ],
)
def test_hidden_characters_are_left_out(text: str, shown: str) -> None:
    assert without_hidden(text) == shown

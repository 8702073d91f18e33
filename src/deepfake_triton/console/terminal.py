"""Escape text from outside, such as file names, for terminals and logs."""

from __future__ import annotations

import unicodedata

from deepfake_triton.console.hidden_characters import HIDDEN_CATEGORIES

_UNSAFE = HIDDEN_CATEGORIES | {"Co", "Cn"}
"""Unicode categories: also those characters whose look nobody knows."""


def printable(text: str) -> str:
    """Return `text` as one line of visible characters: control characters, line ends and direction marks
    become escapes such as `\\x1b`, so that a name can neither forge a line nor move the cursor."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        character.encode("unicode_escape").decode()
        if unicodedata.category(character) in _UNSAFE
        else character
        for character in text
    )

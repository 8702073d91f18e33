"""Text that others chose, such as names of files, on a terminal and in a log."""

from __future__ import annotations

import unicodedata

# Controls (escape codes, line ends), and marks that reverse or hide what follows them.
_FORGES = frozenset(("Cc", "Cf", "Zl", "Zp", "Cs", "Co", "Cn"))


def printable(text: str) -> str:
    """`text` as one line in which every character shows: controls, line ends, and marks of direction come as
    escapes such as `\\x1b`, so that a name cannot forge a line or move the cursor."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        character.encode("unicode_escape").decode()
        if unicodedata.category(character) in _FORGES
        else character
        for character in text
    )

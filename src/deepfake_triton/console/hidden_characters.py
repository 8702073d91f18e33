"""Characters that hide, reorder or break the text around them, in a stranger's names and titles."""

from __future__ import annotations

import unicodedata

HIDDEN_CATEGORIES = frozenset(("Cc", "Cf", "Cs", "Zl", "Zp"))
"""Of Unicode: controls, line ends, lone surrogates, and marks that reverse or hide what follows."""
_JOINERS = "\u200c\u200d"
"""They make words of some scripts, and emoji."""


def without_hidden(text: str) -> str:
    """Return text without hidden characters, but for the joiners of words and emoji."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        character
        for character in text
        if character in _JOINERS or unicodedata.category(character) not in HIDDEN_CATEGORIES
    )

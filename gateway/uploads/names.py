"""Names of uploads: a stranger's text, reduced to a base name that is safe to show."""

from __future__ import annotations

import re
from urllib.parse import unquote

from deepfake_triton.console.hidden_characters import without_hidden

MAX_NAME_CHARACTERS = 255
UNNAMED = "upload"
_PARAMETER = re.compile(r';\s*([\w*-]+)\s*=\s*("(?:[^"\\]|\\.)*"|[^;\s]*)')
_MAX_DISPOSITION = 4096


def name_in(disposition: str) -> str | None:
    """Return the file's name in a Content-Disposition, as browsers and curl write it; None: there is none.

    Args:
        disposition: Value of the header, its bytes taken as Latin-1, as those of HTTP are.
    """
    found = _PARAMETER.findall(";" + disposition[:_MAX_DISPOSITION])
    parameters = {name.lower(): value for name, value in found}
    charset, _, encoded = parameters.get("filename*", "").partition("'")
    if charset.lower() == "utf-8":
        return unquote(encoded.partition("'")[2])
    if (plain := parameters.get("filename")) is None:
        return None
    if plain.startswith('"'):
        plain = re.sub(r'\\(["\\])', r"\1", plain.strip('"'))
    return utf8_of(plain).replace("%22", '"')


def utf8_of(text: str) -> str:
    """Return what senders of UTF-8 meant, whose bytes were taken as Latin-1; other text stays as it is."""
    try:
        return text.encode("latin-1").decode()
    except UnicodeError:
        return text


def base_name(text: str) -> str:
    """Return the last component of any system's path, without hidden characters; `upload` if that is empty.

    A long name is cut, and keeps its suffix.
    """
    last = re.split(r"[/\\]", text)[-1]
    kept = without_hidden(last).strip()
    if kept in {"", ".", ".."}:
        return UNNAMED
    return kept if len(kept) <= MAX_NAME_CHARACTERS else _cut(kept)


def _cut(name: str) -> str:
    stem, dot, suffix = name.rpartition(".")
    if not dot or len(suffix) > 16:
        return name[:MAX_NAME_CHARACTERS].strip()
    return stem[: MAX_NAME_CHARACTERS - len(suffix) - 1] + "." + suffix

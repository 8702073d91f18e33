"""Texts of page, form and report: one file for each language, the best one for a visitor."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

DEFAULT_LANGUAGE = "en"
_FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Texts:
    """Texts in one language, by key.

    Attributes:
        language: Its tag, as `lang` in HTML takes it: the name of its file.
        entries: The texts; names in braces stand for values.
    """

    language: str
    entries: Mapping[str, str]

    def __call__(self, key: str, /, **values: object) -> str:
        """Return a text with its values filled in. Raises KeyError for an unknown key or a missing value."""
        return self.entries[key].format_map(values)

    def first(self, *keys: str) -> str:
        """Return the text of the first key that exists."""
        return self.entries[next(key for key in keys if key in self.entries)]

    def below(self, prefix: str) -> dict[str, str]:
        """Return the texts whose keys begin with a prefix: those that a script needs."""
        return {key: text for key, text in self.entries.items() if key.startswith(prefix)}


@cache
def languages() -> tuple[str, ...]:
    """Return the tags of all languages, sorted: the names of the files beside this one."""
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.json")))


@cache
def read_texts(language: str) -> Texts:
    """Return the texts of one of the `languages`."""
    return Texts(language, json.loads((_FOLDER / f"{language}.json").read_text(encoding="utf-8")))


def texts_for(accept_language: str | None) -> Texts:
    """Return the texts that fit a request's `Accept-Language` best, English where none fits."""
    known = {language.lower(): language for language in languages()}
    for wanted in _wanted(accept_language or ""):
        for tag in (wanted, wanted.partition("-")[0]):
            if tag in known:
                return read_texts(known[tag])
    return read_texts(DEFAULT_LANGUAGE)


def _wanted(accept_language: str) -> list[str]:
    """Return the tags of the header in lower case, most wanted first; those with a quality of 0 are not."""
    weighted: list[tuple[float, str]] = []
    for entry in accept_language.split(","):
        tag, _, parameters = entry.strip().partition(";")
        quality = _quality(parameters)
        if tag and quality > 0:
            weighted.append((quality, tag.strip().lower()))
    return [tag for _, tag in sorted(weighted, key=lambda pair: -pair[0])]


def _quality(parameters: str) -> float:
    name, _, value = parameters.strip().partition("=")
    if name.strip() != "q":
        return 1.0
    try:
        return float(value)
    except ValueError:
        return 0.0

"""Every text that is used exists, in every language, with the same values to fill in."""

from __future__ import annotations

import inspect
import json
import re
import string
from pathlib import Path

import pytest
from paths import ROOT

from deepfake_triton import errors
from deepfake_triton.gateway.words import texts as texts_module
from deepfake_triton.gateway.words.texts import languages, read_texts, texts_for

pytestmark = pytest.mark.fast

_USED = re.compile(r"""\b(?:t|texts|texts\.first)\(\s*["']([\w.]+)["']""")
_NAMED = re.compile(r"""["']([a-z]+\.\w+)["']""")
_BUILT = re.compile(r"""\bf["']([a-z]+\.(?:\w+[._])*)\{""")


def sources() -> list[str]:
    files = [ROOT / "src/deepfake_triton/commands/judge.py"]
    for name in ("words", "report", "page", "rest", "access"):
        folder = ROOT / "gateway" / name
        files += [path for suffix in ("py", "html", "js") for path in folder.rglob(f"*.{suffix}")]
    return [path.read_text() for path in files if path.is_file()]


def test_every_text_that_is_used_exists_and_every_text_is_used() -> None:
    texts, code = read_texts("en"), sources()
    used = {key for source in code for key in _USED.findall(source)}
    assert len(used) > 40
    assert used <= set(texts.entries)
    named = used | {key for source in code for key in _NAMED.findall(source)}
    built = tuple({prefix for source in code for prefix in _BUILT.findall(source)})
    idle = {key for key in texts.entries if key not in named and not key.startswith(built)}
    assert idle == set()


def test_every_language_has_the_same_keys_and_values() -> None:
    english = read_texts("en")
    for language in languages():
        entries = read_texts(language).entries
        assert set(entries) == set(english.entries), language
        for key, text in entries.items():
            assert _values(text) == _values(english.entries[key]), f"{language}: {key}"
        raw = (ROOT / f"gateway/words/{language}.json").read_text()
        pairs = json.loads(raw, object_pairs_hook=list)
        assert len(pairs) == len(entries), f"{language}: a key is there twice"


def test_every_error_named_in_the_texts_exists() -> None:
    known = {name for name, _ in inspect.getmembers(errors, inspect.isclass)}
    named = {key.split(".")[1] for key in read_texts("en").below("error.")}
    assert {name for name in named if name[0].isupper()} - {"Disconnected"} <= known


@pytest.mark.parametrize(
    "header", [None, "", "xx-YY", "en-GB,en;q=0.9", "zz;q=1, en;q=0.1", "*", ";;,", "en;q=x"]
)
def test_the_language_of_a_request_falls_back_to_english(header: str | None) -> None:
    assert texts_for(header).language == "en"


def test_a_translation_is_one_more_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    english = dict(read_texts("en").entries)
    monkeypatch.setattr(texts_module, "_FOLDER", tmp_path)
    for language, said in (("en", english), ("pt-BR", {**english, "verdict.real": "Nada"})):
        (tmp_path / f"{language}.json").write_text(json.dumps(said))
    for remembered in (languages, read_texts):
        remembered.cache_clear()
    try:
        assert texts_for("en;q=0.5, pt-br")("verdict.real") == "Nada"
        assert texts_for("pt-BR;q=0, en").language == "en"
    finally:
        for remembered in (languages, read_texts):
            remembered.cache_clear()


def test_a_value_that_looks_like_a_format_stays_text() -> None:
    said = read_texts("en")("error.detail", detail="{0.__class__} %s {x}")
    assert said == "Details: {0.__class__} %s {x}"


def _values(text: str) -> set[str | None]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}

"""The format of the record, against hostile content."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepfake_triton.errors import InvalidRepository
from deepfake_triton.repository.record_file import record_from_bytes

pytestmark = pytest.mark.fast

DIGEST = "ab" * 32
HOSTILE = (
    "../outside/model.py", "/etc/passwd", "face_tracker/../../x", "face_tracker//x", "a\\b/c", "a/b\nc", "",
    ".git/config", "face_tracker/.hidden", "$(id)/config.pbtxt", "a/b\0c", "model", "a/\u202eb",
)  # fmt: skip


@pytest.mark.parametrize("path", HOSTILE)
def test_a_record_cannot_name_what_is_outside(path: str) -> None:
    for values in ({"files": {path: DIGEST}}, {"files": {}, "pending": {path: [None]}}):
        models = [path.partition("/")[0]] if values["files"] and "/" in path else []
        content = json.dumps({"format": 1, "export_sha256": "", "models": models, **values}).encode()
        with pytest.raises(InvalidRepository, match="is no path of a model's file"):
            record_from_bytes(content, Path("record"))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.just(DIGEST),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
PATHS = st.sampled_from(("a/config.pbtxt", "a/1/model.py", "b/x", "export_report.json", *HOSTILE))
DIGESTS = st.sampled_from((DIGEST, None, "x", 7))


@given(
    st.dictionaries(st.text(max_size=8), JSON, max_size=3),
    st.fixed_dictionaries(
        {
            "format": st.sampled_from((1, 1, 1, 2, True, None, "1")),
            "files": st.dictionaries(PATHS, st.just(DIGEST) | DIGESTS, max_size=4) | JSON,
            "models": st.sampled_from((["a"], ["a", "b"], [])) | JSON,
        },
        optional={
            "pending": st.dictionaries(PATHS, st.lists(DIGESTS, max_size=3), max_size=3) | JSON,
            "export_sha256": st.text(max_size=4) | JSON,
        },
    ),
)
def test_any_json_is_a_record_or_is_refused(more: dict[str, object], values: dict[str, object]) -> None:
    try:
        record = record_from_bytes(json.dumps({**more, **values}).encode(), Path("record"))
    except InvalidRepository:
        return
    assert not {*record.files, *record.pending} & set(HOSTILE)
    assert set(record.files.values()) <= {DIGEST} and list(record.models) == values["models"]


@given(st.binary(max_size=64) | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_are_refused(content: bytes) -> None:
    with pytest.raises(InvalidRepository, match=r"is no record|install a newer one"):
        record_from_bytes(content, Path("record"))


def test_deep_brackets_and_a_newer_format_are_refused() -> None:
    for content, says in ((b"[" * 100_000, "no JSON"), (b'{"format": 2}', "install a newer one")):
        with pytest.raises(InvalidRepository, match=says):
            record_from_bytes(content, Path("record"))

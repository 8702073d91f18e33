from __future__ import annotations

import os
from pathlib import Path

import pytest

from deepfake_triton.errors import InvalidOption
from deepfake_triton.gateway.access import key_file
from deepfake_triton.gateway.access.key_file import KeyFile, create_key, hash_of_key, read_keys

pytestmark = pytest.mark.fast


def test_a_created_key_is_found_and_only_its_hash_is_stored(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    key, other = create_key(path, "newsroom", rate="60/minute", max_jobs=4), create_key(path, "desk")
    assert key != other
    assert path.stat().st_mode & 0o777 == 0o600
    assert key not in path.read_text() and hash_of_key(key) in path.read_text()
    keys = KeyFile(path)
    found = keys.find(key)
    assert found is not None
    assert (found.name, str(found.rate), found.max_jobs) == ("newsroom", "60 per 1 minute", 4)
    plain = keys.find(other)
    assert plain is not None
    assert (plain.name, plain.rate, plain.max_jobs) == ("desk", None, None)
    assert keys.find(key[:-1]) is None and keys.find("") is None
    assert keys.find(hash_of_key(key)) is None


def test_a_key_is_appended_to_a_last_line_without_an_end(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text(f"# the desk's\n\nold:{'a' * 64}::2")
    create_key(path, "new")
    assert [(key.name, key.max_jobs) for key in read_keys(path)] == [("old", 2), ("new", None)]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("newsroom", "SHA-256"),
        (f"news room:{'a' * 64}", "name"),
        (f":{'a' * 64}", "name"),
        (f"newsroom:{'g' * 64}", "SHA-256"),
        (f"newsroom:{'a' * 63}", "SHA-256"),
        (f"newsroom:{'a' * 64}:fast", "rate"),
        (f"newsroom:{'a' * 64}::0", "jobs"),
        (f"newsroom:{'a' * 64}::-1", "jobs"),
        (f"newsroom:{'a' * 64}:1/second:2:3", "fields"),
        (f"first:{'b' * 64}", "second key"),
    ],
)
def test_a_malformed_line_is_named_by_its_number(tmp_path: Path, line: str, says: str) -> None:
    path = tmp_path / "keys"
    path.write_text(f"# keys\nfirst:{'a' * 64}\n{line}\n")
    with pytest.raises(InvalidOption, match=rf"line 3: .*{says}"):
        KeyFile(path)


def test_a_missing_file_and_a_taken_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidOption, match="cannot be read"):
        KeyFile(tmp_path / "missing")
    create_key(tmp_path / "keys", "one")
    with pytest.raises(InvalidOption, match="has a key of that name"):
        create_key(tmp_path / "keys", "one")
    with pytest.raises(InvalidOption, match="the name"):
        create_key(tmp_path / "keys", "one:two")
    with pytest.raises(InvalidOption, match="rate"):
        create_key(tmp_path / "keys", "two", rate="often")
    assert len(read_keys(tmp_path / "keys")) == 1


def test_a_changed_file_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_file, "_RECHECK_S", 0)
    path = tmp_path / "keys"
    first = create_key(path, "first")
    keys = KeyFile(path)
    second = create_key(path, "second")
    assert keys.find(second) is not None
    whole = path.read_text()
    path.write_text("".join(line for line in whole.splitlines(True) if line.startswith("second")))
    assert keys.find(first) is None and keys.find(second) is not None
    assert keys.named("first") is None and keys.named("second") is not None


def test_a_malformed_line_does_not_hold_up_a_revocation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(key_file, "_RECHECK_S", 0)
    path = tmp_path / "keys"
    first, second = create_key(path, "first"), create_key(path, "second")
    keys = KeyFile(path)
    (kept,) = (line for line in path.read_text().splitlines() if line.startswith("second"))
    path.write_text(f"broken\n{kept}\nsecond:{'a' * 64}\n")
    assert keys.find(first) is None and keys.find(second) is not None
    assert [record.levelname for record in caplog.records] == ["ERROR", "ERROR"]
    assert "line 1: " in caplog.text and "line 3: a second key named second" in caplog.text
    assert keys.find(second) is not None and len(caplog.records) == 2
    monkeypatch.setattr(key_file, "_REPEAT_S", 0)
    assert keys.find(second) is not None and len(caplog.records) == 4, "told again"
    path.write_text(f"{kept}\n")
    assert keys.find(second) is not None and len(caplog.records) == 4


@pytest.mark.parametrize("content", [None, b"\xff\xfe", b"broken\n"])
def test_without_a_line_that_can_be_read_no_key_is_valid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, content: bytes | None
) -> None:
    monkeypatch.setattr(key_file, "_RECHECK_S", 0)
    path = tmp_path / "keys"
    key = create_key(path, "first")
    keys, line = KeyFile(path), path.read_bytes()
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    assert keys.find(key) is None and keys.named("first") is None
    assert caplog.records[0].levelname == "ERROR" and "no key is valid" in caplog.text
    path.write_bytes(line)
    assert keys.find(key) is not None


def test_a_file_from_another_editor_is_read(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    digest = hash_of_key("dft_x").upper()
    path.write_bytes(f"\ufeffnewsroom:{digest}\r\n   # a comment\r\n".encode())
    found = KeyFile(path).find("dft_x")
    assert found is not None and found.name == "newsroom"


def test_a_file_without_a_key_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "keys"
    path.write_text("# none as yet\n")
    path.chmod(0o600)
    assert KeyFile(path).find("dft_x") is None
    assert "nobody may ask" in caplog.text


def test_a_file_that_others_can_read_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "keys"
    create_key(path, "first")
    KeyFile(path)
    assert not caplog.records
    os.chmod(path, 0o644)  # noqa: PTH101
    KeyFile(path)
    assert "chmod 600" in caplog.text

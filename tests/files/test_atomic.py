from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from deepfake_triton.files.atomic import atomic_write
from deepfake_triton.files.hashing import sha256_of_file

pytestmark = pytest.mark.fast


def test_the_hash_is_that_of_all_blocks(tmp_path: Path) -> None:
    content = os.urandom(2**21 + 5)
    (tmp_path / "file").write_bytes(content)
    assert sha256_of_file(tmp_path / "file") == hashlib.sha256(content).hexdigest()


def test_a_file_is_replaced_by_a_whole_one_where_its_link_leads(tmp_path: Path) -> None:
    link, file = tmp_path / "link.png", tmp_path / "deep" / f"{'x' * 251}.png"
    file.parent.mkdir()
    file.write_text("old")
    link.symlink_to(file)
    with pytest.raises(OSError, match="full"), atomic_write(link) as partial:
        partial.write_text("ha")
        raise OSError("disk is full")
    assert file.read_text() == "old" and [path.name for path in file.parent.iterdir()] == [file.name]
    with atomic_write(link) as partial:
        assert partial.suffix == ".png"
        partial.write_text("whole")
    assert link.is_symlink() and file.read_text() == "whole"
    with pytest.raises(OSError, match="too long"), atomic_write(tmp_path / ("x" * 256 + ".png")) as partial:
        partial.touch()
    assert not any(path.name.startswith(".") for path in tmp_path.iterdir())
    with atomic_write(link, follow_links=False) as partial:
        partial.write_text("own")
    assert not link.is_symlink() and link.read_text() == "own" and file.read_text() == "whole"


def test_two_who_write_one_file_at_once_both_write_a_whole_one(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    with atomic_write(path) as first, atomic_write(path) as second:
        first.write_text("first")
        second.write_text("second")
    assert path.read_text() == "first" and list(tmp_path.iterdir()) == [path]

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepfake_triton.benchmarks.gpu_day.parts import (
    Part,
    missing_parts,
    read_sums,
    unpack_archive,
    write_archive,
)
from deepfake_triton.errors import InputError

pytestmark = pytest.mark.fast

PART_BYTES = 1000


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A folder with a program, and with bytes that do not compress."""
    folder = tmp_path / "made" / "repository"
    (folder / "inner" / "__pycache__").mkdir(parents=True)
    (folder / "inner" / "__pycache__" / "cached.pyc").write_bytes(b"cached")
    (folder / "inner" / "weights").write_bytes(np.random.default_rng(0).bytes(3500))
    (folder / "program").write_text("#!/bin/sh\n")
    (folder / "program").chmod(0o755)
    return folder


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    folder = tmp_path / "parts"
    folder.mkdir()
    return folder


def test_what_is_packed_is_unpacked(source: Path, packed: Path, tmp_path: Path) -> None:
    parts = write_archive(source, packed, PART_BYTES)
    assert [part.name for part in parts] == [
        f"repository.tar.xz.part-0{index}" for index in range(len(parts))
    ]
    sizes = [(packed / part.name).stat().st_size for part in parts]
    assert len(sizes) > 3 and set(sizes[:-1]) == {PART_BYTES} and 0 < sizes[-1] <= PART_BYTES
    assert read_sums(packed) == {"repository": parts}
    assert missing_parts(packed, parts) == []
    unpack_archive(packed, parts, tmp_path / "target")
    found = tmp_path / "target" / "repository"
    assert sorted(path.name for path in found.rglob("*")) == ["inner", "program", "weights"]
    assert (found / "inner/weights").read_bytes() == (source / "inner/weights").read_bytes()
    assert os.access(found / "program", os.X_OK)


@settings(max_examples=30, deadline=None)
@given(st.binary(max_size=3000), st.integers(40, 2000), st.booleans())
def test_any_bytes_in_parts_of_any_size_come_back(content: bytes, part_bytes: int, of_programs: bool) -> None:
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "file").write_bytes(content)
        parts = write_archive(folder / "file", folder, part_bytes, of_programs=of_programs)
        unpack_archive(folder, parts, folder / "target")
        assert (folder / "target/file").read_bytes() == content


def test_the_same_source_gives_the_same_bytes(source: Path, packed: Path) -> None:
    first = write_archive(source, packed, PART_BYTES)
    os.utime(source / "program", (1, 1))
    assert write_archive(source, packed, PART_BYTES) == first


def test_other_archives_stay_and_earlier_parts_go(source: Path, packed: Path) -> None:
    write_archive(source, packed, PART_BYTES)
    other = write_archive(source / "program", packed, PART_BYTES)
    whole = write_archive(source, packed, 2**20)
    assert len(whole) == 1 and read_sums(packed) == {"program": other, "repository": whole}
    assert len(list(packed.glob("*.part-*"))) == 2


@pytest.mark.skipif(not shutil.which("sha256sum"), reason="sha256sum is not installed")
def test_coreutils_checks_the_sums(source: Path, packed: Path) -> None:
    parts = write_archive(source, packed, PART_BYTES)
    check = ["sha256sum", "--check", "--strict", "SHA256SUMS"]
    assert subprocess.run(check, cwd=packed, capture_output=True, check=False).returncode == 0
    (packed / parts[1].name).write_bytes(b"other")
    assert subprocess.run(check, cwd=packed, capture_output=True, check=False).returncode == 1


def test_a_missing_part_is_named_and_nothing_is_unpacked(source: Path, packed: Path, tmp_path: Path) -> None:
    parts = write_archive(source, packed, PART_BYTES)
    (packed / parts[1].name).unlink()
    assert missing_parts(packed, parts) == [parts[1].name]
    with pytest.raises(InputError, match=f"{parts[1].name} missing"):
        unpack_archive(packed, parts, tmp_path / "target")
    assert not (tmp_path / "target").exists()


@pytest.mark.parametrize("damage", [lambda content: content[:-1], lambda content: bytes([*content[:-1], 0])])
def test_a_corrupt_part_is_refused_and_nothing_is_unpacked(
    source: Path, packed: Path, tmp_path: Path, damage: object
) -> None:
    assert callable(damage)
    parts = write_archive(source, packed, PART_BYTES)
    path = packed / parts[1].name
    path.write_bytes(damage(path.read_bytes()))
    for act in (
        lambda: missing_parts(packed, parts),
        lambda: unpack_archive(packed, parts, tmp_path / "target"),
    ):
        with pytest.raises(InputError, match=f"got SHA-256 .*, expected {parts[1].sha256}"):
            act()
    assert not (tmp_path / "target").exists()


@pytest.mark.parametrize("name", ["a.tar.xz.part-01", "a.tar.part-00", "../a.tar.xz.part-00"])
def test_sums_that_skip_a_part_or_name_something_else_are_refused(packed: Path, name: str) -> None:
    (packed / "SHA256SUMS").write_text(f"{'0' * 64}  {name}\n")
    with pytest.raises(InputError, match="expected the parts of each archive in order"):
        read_sums(packed)


def test_a_folder_without_sums_lists_nothing(packed: Path) -> None:
    assert read_sums(packed) == {}
    assert missing_parts(packed, [Part("a.tar.xz.part-00", "0" * 64)]) == ["a.tar.xz.part-00"]


def test_more_parts_than_can_be_numbered_are_refused(source: Path, packed: Path) -> None:
    with pytest.raises(InputError, match="over 100 parts of 20 bytes; allow more"):
        write_archive(source, packed, 20)

"""File objects of every kind are decoded as the file at their path is, and broken ones are named."""

from __future__ import annotations

import bz2
import gzip
import io
import mmap
import os
import re
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import pytest
from support import quarters, write_clip

from deepfake_triton.errors import VideoUnreadable
from deepfake_triton.preprocessing.media.file_objects import display_name
from deepfake_triton.preprocessing.video.clip import decode_clip
from deepfake_triton.preprocessing.video.sampling import FrameSelection, Sampling

pytestmark = pytest.mark.fast


class Bare:
    """A file object with the least that is needed: absolute `seek` that returns nothing, no `seekable`."""

    def __init__(self, data: bytes) -> None:
        self._file = io.BytesIO(data)

    def read(self, size: int = -1) -> bytes:
        return self._file.read(size)

    def seek(self, offset: int) -> None:
        self._file.seek(offset)

    def tell(self) -> int:
        return self._file.tell()


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its index is at the end, so that a reader has to go there and back."""
    return write_clip(tmp_path_factory.mktemp("clip") / "a.mp4", [quarters()] * 30)


@contextmanager
def spooled(path: Path, max_size: int, mode: str = "w+b") -> Iterator[Any]:
    spool: Any = tempfile.SpooledTemporaryFile  # typed by the mode
    with spool(max_size=max_size, mode=mode) as file:
        file.write(path.read_bytes())
        yield file


@contextmanager
def packed(path: Path, opened: Any) -> Iterator[Any]:
    with opened(path.with_suffix(".packed"), "wb") as file:
        file.write(path.read_bytes())
    with opened(path.with_suffix(".packed"), "rb") as file:
        yield file


@contextmanager
def zipped(path: Path) -> Iterator[Any]:
    with zipfile.ZipFile(path.with_suffix(".zip"), "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(path, "a.mp4")
    with zipfile.ZipFile(path.with_suffix(".zip")) as archive, archive.open("a.mp4") as file:
        yield file


@contextmanager
def mapped(path: Path) -> Iterator[Any]:
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as memory:
        yield memory


@contextmanager
def bare(path: Path) -> Iterator[Any]:
    yield Bare(path.read_bytes())


@contextmanager
def named_by_bytes(path: Path) -> Iterator[Any]:
    with open(os.fsencode(path), "rb") as file:  # noqa: PTH123 (a name of bytes is the point)
        yield file


@contextmanager
def named_by_number(path: Path) -> Iterator[Any]:
    with os.fdopen(os.open(path, os.O_RDONLY), "rb") as file:
        yield file


KINDS: dict[str, Any] = {
    "spooled, in memory": lambda path: spooled(path, 1 << 24),
    "spooled, on the disk": lambda path: spooled(path, 10),
    "temporary": lambda path: spooled(path, 10, "a+b"),
    "bytes": lambda path: io.BytesIO(path.read_bytes()),
    "gzip": lambda path: packed(path, gzip.open),
    "bzip2": lambda path: packed(path, bz2.open),
    "zip member": zipped,
    "memory map": mapped,
    "unbuffered": lambda path: path.open("rb", buffering=0),
    "append": lambda path: path.open("a+b"),
    "update": lambda path: path.open("r+b"),
    "bare": bare,
    "named by bytes": named_by_bytes,
    "named by number": named_by_number,
}


@pytest.mark.parametrize("kind", KINDS)
def test_open_files_give_what_their_path_gives(clip: Path, kind: str) -> None:
    """They stay open, and where they stood."""
    for selection in (FrameSelection(), FrameSelection(5, Sampling.UNIFORM)):
        expected = decode_clip(clip, selection)
        with KINDS[kind](clip) as file:
            file.seek(7)
            got = decode_clip(file, selection)
            assert np.array_equal(got.frames.data, expected.frames.data) and got.fault is None
            assert file.tell() == 7
            file.seek(0)
            assert file.read(8)[4:] == b"ftyp"


def test_open_files_are_called_by_their_names(clip: Path) -> None:
    names = {}
    for kind, opened in KINDS.items():
        with opened(clip) as file:
            names[kind] = str(display_name(file))
    assert names["named by bytes"] == names["append"] == names["unbuffered"] == str(clip)
    assert names["named by number"].startswith("(file descriptor ")
    assert names["zip member"] == "a.mp4" and names["gzip"].endswith("a.packed")
    assert names["spooled, in memory"] == names["bytes"] == names["bare"] == "(stream)"


def test_what_cannot_be_read_is_said(clip: Path, tmp_path: Path) -> None:
    def said_of(file: Any) -> str:
        with pytest.raises(VideoUnreadable) as caught:
            decode_clip(file)
        return str(caught.value)

    closed = clip.open("rb")
    closed.close()
    assert "a.mp4: is closed" in said_of(closed)
    with (tmp_path / "new").open("wb") as written:
        assert "writing only" in said_of(written)
    with clip.open(encoding="latin-1") as text:
        assert "open for text" in said_of(text)
    with tempfile.SpooledTemporaryFile(mode="w+") as text_upload:
        text_upload.write("not bytes")
        assert "mode 'rb'" in said_of(text_upload)
    read_end, write_end = os.pipe()
    os.close(write_end)
    with os.fdopen(read_end, "rb") as pipe:
        assert "can seek" in said_of(pipe)

    class Upload:
        async def read(self, size: int = -1) -> bytes:
            return b""

        async def seek(self, offset: int) -> None: ...

        def tell(self) -> int:
            return 0

    assert "upload.file" in said_of(Upload())
    assert "got bytes" in said_of(clip.read_bytes())
    assert "got NoneType" in said_of(None)


def test_damage_below_an_open_file_is_the_files_error(clip: Path, tmp_path: Path) -> None:
    whole = gzip.compress(clip.read_bytes())
    middle = len(whole) // 2
    damaged = (
        whole[:middle] + bytes(byte ^ 0x55 for byte in whole[middle : middle + 50]) + whole[middle + 50 :]
    )
    for name, data, says in (
        ("cut.gz", whole[:middle], "end-of-stream marker"),
        ("damaged.gz", damaged, "Error -3|CRC check failed|unpack|invalid"),
        ("none.gz", b"not gzip at all", "Not a gzipped file"),
    ):
        path = tmp_path / name
        path.write_bytes(data)
        with (
            gzip.open(path) as file,
            pytest.raises(VideoUnreadable, match=f"{name}: cannot be read.*({says})"),
        ):
            decode_clip(cast("BinaryIO", file))


@pytest.mark.parametrize("fails_after", [0, 1, 3, 5])
def test_a_file_object_that_fails_later_is_the_files_error(clip: Path, fails_after: int) -> None:
    class Failing(Bare):
        reads = 0

        def read(self, size: int = -1) -> bytes:
            self.reads += 1
            if self.reads > fails_after:
                raise ConnectionResetError("the storage hung up")
            return super().read(min(size, 4000) if size > 0 else 4000)

    with pytest.raises(VideoUnreadable, match="the storage hung up"):
        decode_clip(Failing(clip.read_bytes()))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (KeyError("body"), "cannot be read: KeyError: 'body'"),
        (AttributeError("no 'raw'"), "cannot be read: AttributeError: no 'raw'"),
        (TypeError("not callable"), "cannot be read: TypeError: not callable"),
    ],
)
@pytest.mark.parametrize("fails_after", [0, 3])
def test_a_file_object_that_is_broken_is_named(
    *, clip: Path, error: Exception, says: str, fails_after: int
) -> None:
    class Broken(Bare):
        reads = 0

        def read(self, size: int = -1) -> bytes:
            self.reads += 1
            if self.reads > fails_after:
                raise error
            return super().read(min(size, 4000) if size > 0 else 4000)

    with pytest.raises(VideoUnreadable, match=re.escape(says)):
        decode_clip(Broken(clip.read_bytes()))  # type: ignore[arg-type]

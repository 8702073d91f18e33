"""Split files in which whole media files are concatenated, by the framing of their container."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from typing import BinaryIO, cast

from deepfake_triton.preprocessing.media.concatenated_movies import find_further_movies

_FLV_MAGIC, _FLV_TAGS, _FLV_HEADER_BYTES = b"FLV\x01", (8, 9, 18), 13
_EBML, _SEGMENT = 0x1A45DFA3, 0x18538067
_RIFF_KINDS = (b"AVI ", b"AVIX")
_ASF_HEADER = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
_IVF_MAGIC, _IVF_FRAME_BYTES = b"DKIF", 12
_NUT_MAGIC = b"nut/multimedia container\0"
_NUT_CHUNK_BYTES = 1 << 22
_MAX_TAGS = 1_000_000
_MAX_PARTS = 1000
_REMNANT_SHARE, _REMNANT_BYTES = 20, 1 << 20
"""A tail of up to a twentieth of a file, or of 1 MiB, may be but the end of its sound."""


def find_further_files(file: BinaryIO, size: int) -> list[int]:
    """Return the offsets of further files behind the first one in an MP4, Matroska, AVI, FLV, ASF, IVF or NUT
    of `size` bytes.

    Such a file claims the duration of its first part. Formats that are made to be concatenated (MPEG-TS) have
    no such framing and give none. Leaves the position at the start.
    """
    file.seek(0)
    head = file.read(12)
    if head[4:8] == b"ftyp":
        found = find_further_movies(file, size)
    elif head[:4] == _FLV_MAGIC:
        found = _find_flv(file, size)
    elif int.from_bytes(head[:4], "big") == _EBML:
        found = _find_matroska(file, size)
    elif head[:4] == b"RIFF" and head[8:] == b"AVI ":
        found = _find_avi(file, size)
    elif head == _ASF_HEADER[:12]:
        found = _find_asf(file, size)
    elif head[:4] == _IVF_MAGIC:
        found = _find_ivf(file, size)
    elif _NUT_MAGIC.startswith(head):
        found = _find_nut(file)
    else:
        found = []
    file.seek(0)
    return found


def split_parts(file: BinaryIO, size: int) -> list[BinaryIO]:
    """Split a file into the files that are concatenated in it; a single one is returned as it is."""
    starts = [0, *find_further_files(file, size)[:_MAX_PARTS]]
    if len(starts) == 1:
        return [file]
    ends = [*starts[1:], size]
    return [cast(BinaryIO, _Part(file, start, end)) for start, end in zip(starts, ends, strict=True)]


def independent_view(file: BinaryIO) -> BinaryIO:
    """Return a view of a file with a position of its own."""
    return cast(BinaryIO, _Part(file, 0, file.seek(0, io.SEEK_END)))


def tail_from(file: BinaryIO, start: int) -> BinaryIO | None:
    """Return a view of a file from the offset `start` on; None if that is only a remnant."""
    size = file.seek(0, io.SEEK_END)
    is_remnant = size - start <= min(size // _REMNANT_SHARE, _REMNANT_BYTES)
    return None if is_remnant else cast(BinaryIO, _Part(file, start, size))


class _Part(io.RawIOBase):
    """View of the bytes [`start`, `end`) of an open file, which it does not close."""

    def __init__(self, file: BinaryIO, start: int, end: int) -> None:
        self._file, self._start, self._size = file, start, end - start
        self._position = 0
        self.name = _plain_name(getattr(file, "name", ""))

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def read(self, size: int = -1, /) -> bytes:
        left = max(0, self._size - self._position)
        self._file.seek(self._start + self._position)
        data = self._file.read(left if size < 0 else min(size, left))
        self._position += len(data)
        return data


def _plain_name(name: object) -> str:
    """Return a name for FFmpeg with the suffix of another: it takes `x%d.jpg` for a series of files."""
    suffix = re.search(r"\.[A-Za-z0-9]{1,16}\Z", str(name))
    return f"video{suffix[0]}" if suffix else "video"


def _find_flv(file: BinaryIO, size: int) -> list[int]:
    """Walk the tags: each gives its length, and again behind itself (Adobe FLV 10.1, annex E)."""
    starts, position = [], _FLV_HEADER_BYTES
    for _ in range(_MAX_TAGS):
        if position + 11 > size:
            break
        file.seek(position)
        header = file.read(4)
        if header == _FLV_MAGIC:
            starts.append(position)
            position += _FLV_HEADER_BYTES
        elif header[0] & 0x1F in _FLV_TAGS:
            position += 11 + int.from_bytes(header[1:], "big") + 4
        else:
            break
    return starts


def _find_matroska(file: BinaryIO, size: int) -> list[int]:
    starts, position = [], 0
    while position + 12 <= size:
        file.seek(position)
        header = file.read(12)
        kind, length, header_bytes = int.from_bytes(header[:4], "big"), *_ebml_size(header[4:])
        if kind == _EBML and position:
            starts.append(position)
        if kind not in (_EBML, _SEGMENT) or length is None:
            break
        position += 4 + header_bytes + length
    return starts


def _ebml_size(data: bytes) -> tuple[int | None, int]:
    """Read a number of variable length (RFC 8794, section 4); return it (None: unknown) and its bytes."""
    length = 9 - data[0].bit_length()
    if length > 8:
        return None, 0
    value = int.from_bytes(data[:length], "big") & ((1 << 7 * length) - 1)
    return (None if value == (1 << 7 * length) - 1 else value), length


def _find_avi(file: BinaryIO, size: int) -> list[int]:
    """Find RIFF chunks of kind AVI; those of kind AVIX continue one long file (OpenDML)."""
    return [start for start, kind in _riff_chunks(file, size) if start and kind == b"AVI "]


def _riff_chunks(file: BinaryIO, size: int) -> Iterator[tuple[int, bytes]]:
    position = 0
    while position + 12 <= size:
        file.seek(position)
        header = file.read(12)
        if header[:4] != b"RIFF" or header[8:] not in _RIFF_KINDS:
            return
        yield position, header[8:]
        length = int.from_bytes(header[4:8], "little")
        position += 8 + length + length % 2


def _find_asf(file: BinaryIO, size: int) -> list[int]:
    """Walk the objects: each is a GUID, and its own length (ASF specification, 2.1)."""
    starts, position = [], 0
    while position + 24 <= size:
        file.seek(position)
        header = file.read(24)
        length = int.from_bytes(header[16:], "little")
        if header[:16] == _ASF_HEADER and position:
            starts.append(position)
        if length < 24:  # an unfinished recording
            break
        position += length
    return starts


def _find_ivf(file: BinaryIO, size: int) -> list[int]:
    """Walk the frames, each preceded by its size; a file header gives its own length."""
    starts, position = [], 0
    for _ in range(_MAX_TAGS):
        if position + _IVF_FRAME_BYTES > size:
            break
        file.seek(position)
        header = file.read(_IVF_FRAME_BYTES)
        if header[:4] != _IVF_MAGIC:
            position += _IVF_FRAME_BYTES + int.from_bytes(header[:4], "little")
            continue
        if position:
            starts.append(position)
        position += max(_IVF_FRAME_BYTES, int.from_bytes(header[6:8], "little"))
    return starts


def _find_nut(file: BinaryIO) -> list[int]:
    """Search for NUT's file_id_string, which occurs at the start of a file only."""
    starts, position, kept = [], 0, b""
    file.seek(0)
    while chunk := file.read(_NUT_CHUNK_BYTES):
        kept += chunk
        starts += [position + found.start() for found in re.finditer(re.escape(_NUT_MAGIC), kept)]
        overlap = len(_NUT_MAGIC) - 1
        position += max(0, len(kept) - overlap)
        kept = kept[-overlap:]
    return [start for start in starts if start]

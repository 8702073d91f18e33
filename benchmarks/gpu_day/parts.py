"""Archives in parts of limited size, each checked by its SHA-256 before anything is unpacked."""

from __future__ import annotations

import contextlib
import hashlib
import io
import lzma
import re
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepfake_triton.errors import InputError
from deepfake_triton.files.hashing import sha256_of_file

SUMS = "SHA256SUMS"
_LINE = re.compile(r"([0-9a-f]{64})  (([^/]+)\.tar\.xz\.part-([0-9]{2}))")
_MOST_PARTS = 100


@dataclass(frozen=True)
class Part:
    """The name of a file, and its SHA-256 as hexadecimal digits."""

    name: str
    sha256: str


Sums = Mapping[str, tuple[Part, ...]]
"""The parts of each archive, in order, by its name."""


def write_archive(
    source: Path, folder: Path, part_bytes: int, *, of_programs: bool = False
) -> tuple[Part, ...]:
    """Write a file or folder as `<name>.tar.xz.part-NN`, and enter the parts in the folder's SHA256SUMS.

    Earlier parts of that name are removed. `of_programs` is for x86-64 machine code, which then compresses
    better. The same source gives the same bytes. Raises InputError where 100 parts are too few, OSError.
    """
    for stale in sorted(folder.glob(f"{source.name}.tar.xz.part-*")):
        stale.unlink()
    x86: list[dict[str, Any]] = [{"id": lzma.FILTER_X86}] if of_programs else []
    filters = [*x86, {"id": lzma.FILTER_LZMA2, "preset": 6, "dict_size": 2**26}]
    written = _PartWriter(folder, f"{source.name}.tar.xz", part_bytes)
    with (
        io.BufferedWriter(written, 2**20) as whole,
        lzma.open(whole, "wb", filters=filters) as compressed,
        tarfile.open(fileobj=compressed, mode="w|") as archive,
    ):
        archive.add(source, source.name, filter=_reproducible)
    parts = tuple(written.parts)
    write_sums(folder, {**read_sums(folder), source.name: parts})
    return parts


def read_sums(folder: Path) -> Sums:
    """Return what a folder's SHA256SUMS lists; nothing where there is none. Raises InputError."""
    path = folder / SUMS
    if not path.is_file():
        return {}
    sums: dict[str, tuple[Part, ...]] = {}
    for line in path.read_text().splitlines():
        found = _LINE.fullmatch(line)
        if not found or int(found[4]) != len(sums.get(found[3], ())):
            raise InputError(f"{path}: got {line!r}, expected the parts of each archive in order; pack again")
        sums[found[3]] = (*sums.get(found[3], ()), Part(found[2], found[1]))
    return sums


def write_sums(folder: Path, sums: Sums) -> None:
    """Write a SHA256SUMS as `sha256sum --check` reads it. Raises OSError."""
    lines = [f"{part.sha256}  {part.name}\n" for _, parts in sorted(sums.items()) for part in parts]
    (folder / SUMS).write_text("".join(lines))


def missing_parts(folder: Path, parts: Sequence[Part]) -> list[str]:
    """Return the parts that are not in the folder yet. Raises InputError for one with other bytes."""
    missing = []
    for part in parts:
        path = folder / part.name
        if not path.is_file():
            missing.append(part.name)
        elif (found := sha256_of_file(path)) != part.sha256:
            raise InputError(f"{path}: got SHA-256 {found}, expected {part.sha256}; carry it again")
    return missing


def unpack_archive(folder: Path, parts: Sequence[Part], target: Path) -> None:
    """Unpack an archive below `target`, once all parts are checked. Raises InputError, OSError."""
    if missing := missing_parts(folder, parts):
        raise InputError(f"{folder}: {', '.join(missing)} missing; carry what is missing, too")
    with (
        contextlib.closing(_PartReader([folder / part.name for part in parts])) as joined,
        lzma.open(io.BufferedReader(joined, 2**20)) as content,
        tarfile.open(fileobj=content, mode="r|") as archive,
    ):
        archive.extractall(target, filter="data")


def _reproducible(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    if Path(member.name).name == "__pycache__":
        return None
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    member.mtime = 0
    return member


class _PartWriter(io.RawIOBase):
    """Writes files of `part_bytes`, the last of what is left."""

    def __init__(self, folder: Path, archive: str, part_bytes: int) -> None:
        self.parts: list[Part] = []
        self._folder, self._archive, self._part_bytes = folder, archive, part_bytes
        self._held = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._held += data
        while len(self._held) >= self._part_bytes:
            self._write_part(self._part_bytes)
        return len(data)

    def close(self) -> None:
        if not self.closed and self._held:
            self._write_part(len(self._held))
        super().close()

    def _write_part(self, length: int) -> None:
        if len(self.parts) == _MOST_PARTS:
            raise InputError(
                f"{self._archive}: over {_MOST_PARTS} parts of {self._part_bytes} bytes; allow more"
            )
        name = f"{self._archive}.part-{len(self.parts):02}"
        content = bytes(self._held[:length])
        del self._held[:length]
        (self._folder / name).write_bytes(content)
        self.parts.append(Part(name, hashlib.sha256(content).hexdigest()))


class _PartReader(io.RawIOBase):
    """Reads files one after another."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._blocks = _blocks(paths)
        self._held = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._held:
            self._held = memoryview(next(self._blocks, b""))
        count = min(len(buffer), len(self._held))
        buffer[:count] = self._held[:count]
        self._held = self._held[count:]
        return count


def _blocks(paths: Sequence[Path]) -> Iterator[bytes]:
    for path in paths:
        with path.open("rb") as file:
            while block := file.read(2**20):
                yield block

"""Shared libraries without what one machine never reads, such as code of other GPU architectures.

What is dropped becomes zeros in place, which compress to nothing: size, headers and addresses stay. The CUDA
runtime chooses among the entries of a fatbin by their headers, and reads no other payload.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from deepfake_triton.errors import InputError

DEVICE_CODE = ".nv_fatbin"
_ELF64_LITTLE_ENDIAN = b"\x7fELF\x02\x01"
_FATBIN_MAGIC = struct.pack("<I", 0xBA55ED50)
_FATBIN_HEADER = struct.Struct("<IHHQ")  # magic, version, bytes of this header, bytes of all entries
_ENTRY_HEADER = struct.Struct(
    "<HHIQ12xI"
)  # kind, version, bytes of this header and of the payload, architecture
_SECTION_HEADER = struct.Struct("<I4x16xQQ")  # offset of the name, of the content; bytes of the content


@dataclass(frozen=True)
class LeanCode:
    """A library, and how many bytes of its device code were kept and zeroed."""

    content: bytes
    kept_bytes: int
    zeroed_bytes: int


@dataclass(frozen=True)
class _Payload:
    """Code for one architecture, such as 90 for sm_90."""

    architecture: int
    start: int
    end: int


def write_lean_provider(library: Path, architecture: int, *, all_kernels: bool = False) -> LeanCode:
    """Rewrite a library file in place by `keep_architecture`. Raises InputError, OSError."""
    try:
        lean = keep_architecture(library.read_bytes(), architecture, all_kernels=all_kernels)
    except InputError as error:
        raise InputError(f"{library}: {error}") from error
    library.write_bytes(lean.content)
    return lean


def keep_architecture(library: bytes, architecture: int, *, all_kernels: bool = False) -> LeanCode:
    """Return the library with machine code for one architecture, such as 90, only.

    Unless `all_kernels`, a kernel that the oldest architecture lacks is dropped, too: those are attention and
    mixtures of experts, none of a convolutional network. Raises InputError for a library without such code.
    """
    fatbins = list(_fatbins(library, *find_section(library, DEVICE_CODE)))
    found = sorted({payload.architecture for fatbin in fatbins for payload in fatbin})
    if architecture not in found:
        raise InputError(f"no code for sm_{architecture}: got {_names(found)}; name one of these")
    content = bytearray(library)
    kept = zeroed = 0
    for fatbin in fatbins:
        for_all = all_kernels or any(payload.architecture == found[0] for payload in fatbin)
        for payload in fatbin:
            length = payload.end - payload.start
            if for_all and payload.architecture == architecture:
                kept += length
            else:
                content[payload.start : payload.end] = bytes(length)
                zeroed += length
    return LeanCode(bytes(content), kept, zeroed)


def zero_section(library: bytes, name: str) -> bytes:
    """Return the library with zeros as the content of one section. Raises InputError where it has none."""
    start, end = find_section(library, name)
    return b"".join((library[:start], bytes(end - start), library[end:]))


def find_section(library: bytes, name: str) -> tuple[int, int]:
    """Return where the content of an ELF section starts and ends. Raises InputError."""
    if not library.startswith(_ELF64_LITTLE_ENDIAN):
        raise InputError(f"starts with {library[:6]!r}, expected a 64-bit little-endian ELF file")
    try:
        (table,) = struct.unpack_from("<Q", library, 0x28)
        entry_bytes, count, names = struct.unpack_from("<HHH", library, 0x3A)
        headers = [
            _SECTION_HEADER.unpack_from(library, table + index * entry_bytes) for index in range(count)
        ]
    except struct.error as error:
        raise InputError(f"its table of sections is cut off: got {len(library)} bytes") from error
    wanted = name.encode() + b"\0"
    strings = headers[names][1] if names < count else 0
    for name_offset, start, length in headers:
        if library.startswith(wanted, strings + name_offset):
            if start + length > len(library):
                raise InputError(f"section {name} ends at byte {start + length}, the file at {len(library)}")
            return start, start + length
    raise InputError(f"has no section {name}")


def _fatbins(library: bytes, position: int, end: int) -> Iterator[list[_Payload]]:
    """Yield the payloads of each fatbin between two offsets."""
    while (position := library.find(_FATBIN_MAGIC, position, end)) >= 0:
        if position + _FATBIN_HEADER.size > end:
            raise InputError(f"the fatbin at byte {position} is cut off")
        _, _, header, length = _FATBIN_HEADER.unpack_from(library, position)
        start, position = position + header, position + header + length
        if position > end:
            raise InputError(f"a fatbin ends at byte {position}, its section at {end}")
        yield list(_payloads(library, start, position))


def _payloads(library: bytes, position: int, end: int) -> Iterator[_Payload]:
    while position < end:
        if position + _ENTRY_HEADER.size > end:
            raise InputError(f"the fatbin's entry at byte {position} is cut off")
        _, _, header, length, architecture = _ENTRY_HEADER.unpack_from(library, position)
        start, following = position + header, position + header + length
        if header < _ENTRY_HEADER.size or following > end:
            raise InputError(
                f"the fatbin's entry at byte {position} ends at {following}, the fatbin at {end}"
            )
        yield _Payload(architecture, start, following)
        position = following


def _names(architectures: list[int]) -> str:
    return ", ".join(f"sm_{architecture}" for architecture in architectures) or "none"

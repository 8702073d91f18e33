"""Shared libraries made in code, with device code as NVIDIA's compiler embeds it."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

Fatbin = Mapping[int, bytes]
"""The payload of each architecture, such as 90."""


def fatbin_library(fatbins: Sequence[Fatbin], *, section: str = ".nv_fatbin") -> bytes:
    """Return a 64-bit ELF file of three sections: none, the fatbins, the names."""
    code = b"".join(b"\0" * 16 + _fatbin(fatbin) for fatbin in fatbins)
    names = b"\0" + section.encode() + b"\0.shstrtab\0"
    code_at = 64
    names_at = code_at + len(code)
    table_at = names_at + len(names)
    sections = [(0, 0, 0), (1, code_at, len(code)), (len(section) + 2, names_at, len(names))]
    table = b"".join(
        struct.pack("<IIQQQQIIQQ", name, 1, 0, at, at, length, 0, 0, 1, 0) for name, at, length in sections
    )
    header = struct.pack(
        "<16sHHIQQQIHHHHHH",
        b"\x7fELF\x02\x01\x01",
        *(3, 62, 1, 0, 0, table_at, 0),
        *(64, 56, 0, 64, len(sections), len(sections) - 1),
    )
    return header + code + names + table


def _fatbin(payloads: Fatbin) -> bytes:
    entries = b"".join(
        struct.pack("<HHIQ12xI32x", 2, 0x101, 64, len(payload), architecture) + payload
        for architecture, payload in payloads.items()
    )
    return struct.pack("<IHHQ", 0xBA55ED50, 1, 16, len(entries)) + entries

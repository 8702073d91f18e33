"""Features of the processor on which answers depend."""

from __future__ import annotations

from pathlib import Path

_VNNI_FLAGS = frozenset(("avx512_vnni", "avx_vnni", "amx_int8"))


def has_vnni(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Return whether INT8 products are accumulated in 32 bits: with VNNI, or on any processor but x86.

    x86 without VNNI first adds two of them in 16 bits, with saturation: a network with 8-bit weights then
    silently gives other answers. Weights of 7 bits never saturate.
    """
    try:
        lines = cpuinfo.read_text().splitlines()
    except OSError:
        return True
    flags = next((frozenset(line.split()) for line in lines if line.startswith("flags")), None)
    return flags is None or bool(flags & _VNNI_FLAGS)  # other processors have no such line

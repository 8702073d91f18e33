"""Features of the processor on which answers depend."""

from __future__ import annotations

from pathlib import Path

_CPUINFO = Path("/proc/cpuinfo")
_VNNI_FLAGS = frozenset(("avx512_vnni", "avx_vnni", "amx_int8"))
_BF16_FLAGS = frozenset(("avx512_bf16", "amx_bf16"))


def has_vnni(cpuinfo: Path = _CPUINFO) -> bool:
    """Return whether INT8 products are accumulated in 32 bits: with VNNI, or on any processor but x86.

    x86 without VNNI first adds two of them in 16 bits, with saturation: a network with 8-bit weights then
    silently gives other answers. Weights of 7 bits never saturate.
    """
    flags = _x86_flags(cpuinfo)
    return flags is None or bool(flags & _VNNI_FLAGS)


def has_bf16(cpuinfo: Path = _CPUINFO) -> bool:
    """Return whether this is an x86 processor with instructions for products of bfloat16."""
    return bool((_x86_flags(cpuinfo) or frozenset()) & _BF16_FLAGS)


def _x86_flags(cpuinfo: Path) -> frozenset[str] | None:
    """Return the features of the first core; None on other processors, which have no such line."""
    try:
        lines = cpuinfo.read_text().splitlines()
    except OSError:
        return None
    return next((frozenset(line.split()) for line in lines if line.startswith("flags")), None)

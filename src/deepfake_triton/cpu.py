"""What this machine's processor can do, as far as answers depend on it."""

from __future__ import annotations

from pathlib import Path

_EXACT = frozenset(("avx512_vnni", "avx_vnni", "amx_int8"))


def adds_int8_exactly(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether products of 8-bit numbers are added in 32 bits.

    x86 without VNNI adds two of them in 16 bits first, where large ones are cut off: a network with 8-bit
    weights then answers otherwise, and in silence. Weights of 7 bits never get there.
    """
    try:
        lines = cpuinfo.read_text().splitlines()
    except OSError:
        return True
    flags = next((frozenset(line.split()) for line in lines if line.startswith("flags")), None)
    return flags is None or bool(flags & _EXACT)  # other processors have no such line

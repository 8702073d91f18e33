"""Return memory of Triton's shared regions to the system.

A region that Triton shares with a Python process grows with the largest request and never shrinks.
"""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

_MADV_REMOVE = 9
_KEPT_BYTES = 4 * 2**20
"""At both ends of a region, where Triton writes messages and the allocator its records."""
_LIBC = ctypes.CDLL(None)


def discard_pages(tensor: Any) -> None:
    """Discard the pages that lie wholly inside one of Triton's input tensors; its values become 0.

    `tensor` is numeric, of a refused request, and not read again. No-op where its memory is not shared.
    """
    values = np.from_dlpack(tensor)  # without the copy of `as_numpy`
    begin, end = values.ctypes.data, values.ctypes.data + values.nbytes
    first = -(-begin // mmap.PAGESIZE) * mmap.PAGESIZE
    _remove(first, end // mmap.PAGESIZE * mmap.PAGESIZE - first)


def discard_untouched_pages() -> None:
    """Discard what Triton allocated of this process's region, and nobody has written to.

    Triton allocates a region whole, for the largest requests. To be called as the process starts, while no
    request is on its way.
    """
    for begin, end in _shared_mappings():
        first, length = begin + _KEPT_BYTES, end - begin - 2 * _KEPT_BYTES
        if length > 0:
            words = (ctypes.c_uint64 * (length // 8)).from_address(first)
            if not np.ctypeslib.as_array(words).any():
                _remove(first, length)


def _shared_mappings() -> Iterator[tuple[int, int]]:
    """Yield first address and end of each mapping of /dev/shm that this process may write to."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        addresses, mode, *_, path = line.split(maxsplit=5)
        if mode.startswith("rw") and path.startswith("/dev/shm/"):
            begin, end = addresses.split("-")
            yield int(begin, 16), int(end, 16)


def _remove(first: int, length: int) -> None:
    if length > 0:
        _LIBC.madvise(ctypes.c_void_p(first), ctypes.c_size_t(length), _MADV_REMOVE)

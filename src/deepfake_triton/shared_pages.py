"""Return memory of Triton's shared regions to the system.

A region that Triton shares with a Python process grows with the largest request and never shrinks.
"""

from __future__ import annotations

import ctypes
import mmap
from typing import Any

import numpy as np

_MADV_REMOVE = 9
_LIBC = ctypes.CDLL(None)


def discard_pages(tensor: Any) -> None:
    """Discard the pages that lie wholly inside one of Triton's input tensors; its values become 0.

    `tensor` is numeric, of a refused request, and not read again. No-op where its memory is not shared.
    """
    values = np.from_dlpack(tensor)  # without the copy of `as_numpy`
    begin, end = values.ctypes.data, values.ctypes.data + values.nbytes
    first = -(-begin // mmap.PAGESIZE) * mmap.PAGESIZE
    length = end // mmap.PAGESIZE * mmap.PAGESIZE - first
    if length > 0:
        _LIBC.madvise(ctypes.c_void_p(first), ctypes.c_size_t(length), _MADV_REMOVE)

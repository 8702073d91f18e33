"""Shared memory for one window: a child writes it, the gateway seals it and reads it."""

from __future__ import annotations

import fcntl
import math
import mmap
import os

import numpy as np

from deepfake_triton.arrays import Frames
from deepfake_triton.contracts import MAX_FRAME_SIDE, MAX_FRAMES

MAX_WINDOW_BYTES = MAX_FRAMES * MAX_FRAME_SIDE * MAX_FRAME_SIDE * 3
"""The largest window that a decoder makes; pages that are not written take no memory."""


class FrameMemory:
    """Anonymous memory of a fixed size, whose content is fixed, too, once it is sealed.

    The gateway seals it, so that a child cannot change frames that were checked, nor take away pages that
    are mapped.
    """

    def __init__(self) -> None:
        self.descriptor = os.memfd_create("frames", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(self.descriptor, MAX_WINDOW_BYTES)
        fcntl.fcntl(self.descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW)

    def frames(self, shape: tuple[int, int, int, int]) -> Frames:
        """Seal the memory, and return its frames [T, H, W, 3] uint8 RGB, which live as long as they are used.

        Raises ValueError for more than it holds, and while anybody can still write to it, and OSError.
        """
        size = math.prod(shape)
        if not 0 < size <= MAX_WINDOW_BYTES:
            raise ValueError(f"a window of {size} bytes; expected at most {MAX_WINDOW_BYTES}")
        try:
            fcntl.fcntl(self.descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL)
        except OSError as error:
            raise ValueError("frames that can still be written to") from error
        pages = mmap.mmap(self.descriptor, size, mmap.MAP_SHARED, mmap.PROT_READ)
        return np.frombuffer(pages, np.uint8).reshape(shape)

    def close(self) -> None:
        """Close the descriptor; frames stay. May be repeated."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

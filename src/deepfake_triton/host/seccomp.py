"""System-call filters (seccomp(2)) as classic BPF programs, on x86-64."""

from __future__ import annotations

import ctypes
import platform
import struct
from collections.abc import Sequence

_LIBC = ctypes.CDLL(None, use_errno=True)
_LIBC.syscall.restype = ctypes.c_long
_PR_SET_NO_NEW_PRIVS = 38
_SYS_SECCOMP, _SET_MODE_FILTER = 317, 1
_SPEC_ALLOW = 4
"""Without it, older kernels slow a filtered process down, as one that runs untrusted code."""

Instruction = tuple[int, int, int, int]
"""Code, jump if true, jump if false, operand."""
# Codes of classic BPF; operands of LOAD are offsets in struct seccomp_data.
LOAD, EQUAL, AT_LEAST, ANY_BIT, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
NUMBER, ARCHITECTURE = 0, 4
ARGUMENTS = tuple(16 + 8 * index for index in range(6))
"""Offsets of the lower halves of the six arguments; the upper ones stand 4 bytes behind."""
AUDIT_ARCH_X86_64 = 0xC000003E
ALLOW, REFUSE, KILL = 0x7FFF0000, 0x00050000, 0x80000000
"""Results; REFUSE plus an errno lets the call fail with it, and succeed without effect for 0."""


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.POINTER(ctypes.c_char)))


class SystemCallFilter:
    """A filter that a process installs for itself and its children, for ever."""

    def __init__(self, instructions: Sequence[Instruction]) -> None:
        self._code = ctypes.create_string_buffer(
            b"".join(struct.pack("=HBBI", *step) for step in instructions)
        )
        self._program = _Program(len(instructions), ctypes.cast(self._code, ctypes.POINTER(ctypes.c_char)))
        self._is_supported = platform.machine() == "x86_64"

    def install(self) -> bool:
        """Install the filter by system calls only, as in a `preexec_fn`.

        Returns False where the kernel refuses the filter, and anywhere but on x86-64.
        """
        if not self._is_supported or _LIBC.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
            return False
        return not _LIBC.syscall(_SYS_SECCOMP, _SET_MODE_FILTER, _SPEC_ALLOW, ctypes.byref(self._program))

"""A filter of system calls (seccomp(2)) that keeps a process's new files to its user, whatever it asks for.

The C++ library behind Triton's shared memory gives every region the mode 644 by fchmod(2), against the umask.
"""

from __future__ import annotations

import ctypes
import platform
import struct
from collections.abc import Callable

_LIBC = ctypes.CDLL(None, use_errno=True)
_LIBC.syscall.restype = ctypes.c_long
_PR_SET_NO_NEW_PRIVS = 38
_SYS_SECCOMP, _SET_MODE_FILTER = 317, 1
_SPEC_ALLOW = 4
"""Older kernels slow a filtered process down, as one that runs foreign code, unless they are told not to."""
_AUDIT_ARCH_X86_64, _SYS_FCHMOD = 0xC000003E, 91
# Classic BPF: code, jump if true, jump if false, operand. Offsets are those of struct seccomp_data.
_LOAD, _EQUAL, _ANY_BIT, _RETURN = 0x20, 0x15, 0x45, 0x06
_ALLOW, _DO_NOTHING = 0x7FFF0000, 0x00050000
_PROGRAM = (
    (_LOAD, 0, 0, 4),
    (_EQUAL, 0, 5, _AUDIT_ARCH_X86_64),
    (_LOAD, 0, 0, 0),
    (_EQUAL, 0, 3, _SYS_FCHMOD),
    (_LOAD, 0, 0, 24),
    (_ANY_BIT, 0, 1, 0o077),
    (_RETURN, 0, 0, _DO_NOTHING),  # with the status of success
    (_RETURN, 0, 0, _ALLOW),
)


class _Filter(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("program", ctypes.POINTER(ctypes.c_char)))


def private_files() -> Callable[[], bool]:
    """Return what has a process, and those that it starts, open no file to others by fchmod(2).

    For `preexec_fn`: system calls only. False where the filter is not taken, as anywhere but on x86-64.
    """
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in _PROGRAM))
    filtering = _Filter(len(_PROGRAM), ctypes.cast(code, ctypes.POINTER(ctypes.c_char)))
    is_known = platform.machine() == "x86_64"

    def confine() -> bool:
        if not is_known or _LIBC.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
            return False
        return not _LIBC.syscall(_SYS_SECCOMP, _SET_MODE_FILTER, _SPEC_ALLOW, ctypes.byref(filtering))

    return confine

"""A system-call filter that keeps the new files of a process private to its user.

The C++ library behind Triton's shared memory gives every region the mode 644 by fchmod(2), against the umask.
"""

from __future__ import annotations

from collections.abc import Callable

from deepfake_triton.host.seccomp import (
    ALLOW,
    ANY_BIT,
    ARCHITECTURE,
    ARGUMENTS,
    AUDIT_ARCH_X86_64,
    EQUAL,
    LOAD,
    NUMBER,
    REFUSE,
    RETURN,
    SystemCallFilter,
)

_SYS_FCHMOD = 91
_PROGRAM = (
    (LOAD, 0, 0, ARCHITECTURE),
    (EQUAL, 0, 5, AUDIT_ARCH_X86_64),
    (LOAD, 0, 0, NUMBER),
    (EQUAL, 0, 3, _SYS_FCHMOD),
    (LOAD, 0, 0, ARGUMENTS[1]),
    (ANY_BIT, 0, 1, 0o077),
    (RETURN, 0, 0, REFUSE),  # with the status of success
    (RETURN, 0, 0, ALLOW),
)


def private_files_filter() -> Callable[[], bool]:
    """Return a function for `preexec_fn` (system calls only) that installs the filter in the new process.

    From then on, neither the process nor its children open a file to others by fchmod(2). The function
    returns False where the kernel refuses the filter, and anywhere but on x86-64.
    """
    return SystemCallFilter(_PROGRAM).install

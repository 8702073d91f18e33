"""A kernel that takes no filter of system calls, as some containers and emulators have it."""

from __future__ import annotations

import errno

from deepfake_triton.host.seccomp import ALLOW, EQUAL, LOAD, NUMBER, REFUSE, RETURN, SystemCallFilter

_SYS_SECCOMP = 317


def refuse_filters() -> bool:
    """Refuse filters to this process and its children, from now on; return whether that is done."""
    refusal = (RETURN, 0, 0, REFUSE | errno.EINVAL)
    steps = [(LOAD, 0, 0, NUMBER), (EQUAL, 0, 1, _SYS_SECCOMP), refusal, (RETURN, 0, 0, ALLOW)]
    return SystemCallFilter(steps).install()

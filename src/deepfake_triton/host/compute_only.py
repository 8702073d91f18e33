"""A system-call filter for a process that parses a stranger's bytes, on x86-64.

Such a process computes, starts threads, and uses the descriptors that it has. Every other call is refused,
those that kernels will have one day included: it opens no file, socket or process, and signals nobody else.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence

from deepfake_triton.host.seccomp import (
    ALLOW,
    ANY_BIT,
    ARCHITECTURE,
    ARGUMENTS,
    AT_LEAST,
    AUDIT_ARCH_X86_64,
    EQUAL,
    KILL,
    LOAD,
    NUMBER,
    REFUSE,
    RETURN,
    Instruction,
    SystemCallFilter,
)

_ALLOWED = (
    # what decoding calls most: futex, read, lseek, mprotect, brk, mmap, munmap, madvise, pread64
    *(202, 0, 8, 10, 12, 9, 11, 28, 17),
    # descriptors that it has: write, readv, writev, pwrite64, close, dup, fstat, newfstatat, statx, poll,
    # ppoll, select, pselect6, fsync, ftruncate, fadvise64
    *(1, 19, 20, 18, 3, 32, 5, 262, 332, 7, 271, 23, 270, 74, 77, 221),
    # connections that it has: sendto, recvfrom, sendmsg, recvmsg, shutdown, getsockname, getpeername,
    # getsockopt
    *(44, 45, 46, 47, 48, 51, 52, 55),
    # memory and threads: mremap, sched_yield, set_robust_list, rseq, membarrier, set_tid_address,
    # sched_getaffinity, getcpu, exit, exit_group
    *(25, 24, 273, 334, 324, 218, 204, 309, 60, 231),
    # signals of its own: rt_sigaction, rt_sigprocmask, rt_sigreturn, sigaltstack, restart_syscall
    *(13, 14, 15, 131, 219),
    # clocks: nanosleep, gettimeofday, time, clock_gettime, clock_getres, clock_nanosleep
    *(35, 96, 201, 228, 229, 230),
    # what it is and has: getpid, gettid, getppid, getuid, getgid, geteuid, getegid, uname, sysinfo,
    # getrlimit, getrusage, getrandom
    *(39, 186, 110, 102, 104, 107, 108, 63, 99, 97, 98, 318),
)
_SYS_CLONE, _CLONE_THREAD = 56, 0x00010000
_SYS_PRCTL, _PR_SET_NAME = 157, 15
_SYS_FCNTL, _F_DUPFD, _F_GETFD, _F_SETFD, _F_GETFL, _F_DUPFD_CLOEXEC = 72, 0, 1, 2, 3, 1030
_SYS_TGKILL, _SYS_PRLIMIT64 = 234, 302
_FIRST_WITH_FALLBACK = 335
"""Calls from here on are newer than those that C libraries fall back to, where the kernel lacks them."""


def compute_only_filter() -> SystemCallFilter:
    """Return the filter for this process, and the threads that it will start: not for its children."""
    allowed, refused = (RETURN, 0, 0, ALLOW), (RETURN, 0, 0, REFUSE | errno.EPERM)
    steps: list[Instruction] = [
        (LOAD, 0, 0, ARCHITECTURE),
        (EQUAL, 1, 0, AUDIT_ARCH_X86_64),
        (RETURN, 0, 0, KILL),
        (LOAD, 0, 0, NUMBER),
    ]
    for number in _ALLOWED:
        steps += [(EQUAL, 0, 1, number), allowed]
    steps += _allowed_if(_SYS_CLONE, 0, (_CLONE_THREAD,), code=ANY_BIT)
    steps += _allowed_if(_SYS_PRCTL, 0, (_PR_SET_NAME,))
    steps += _allowed_if(_SYS_TGKILL, 0, (os.getpid(),))
    steps += _allowed_if(_SYS_FCNTL, 1, (_F_DUPFD, _F_GETFD, _F_SETFD, _F_GETFL, _F_DUPFD_CLOEXEC))
    reads_limits = [  # the address of new limits is 0
        (LOAD, 0, 0, ARGUMENTS[2]),
        (EQUAL, 0, 2, 0),
        (LOAD, 0, 0, ARGUMENTS[2] + 4),
        (EQUAL, 1, 0, 0),
        refused,
        allowed,
    ]
    steps += [(EQUAL, 0, len(reads_limits), _SYS_PRLIMIT64), *reads_limits]
    steps += [(AT_LEAST, 0, 1, _FIRST_WITH_FALLBACK), (RETURN, 0, 0, REFUSE | errno.ENOSYS), refused]
    return SystemCallFilter(steps)


def takes_filter() -> bool:
    """Return whether the kernel takes the filter, tried in a child: call it where there are no threads."""
    pid = os.fork()
    if pid == 0:
        os._exit(0 if compute_only_filter().install() else 1)
    return os.waitpid(pid, 0)[1] == 0


def _allowed_if(
    number: int, argument: int, operands: Sequence[int], *, code: int = EQUAL
) -> list[Instruction]:
    """Return the steps that allow a call where an argument has one of the values, and refuse it otherwise."""
    steps: list[Instruction] = [(LOAD, 0, 0, ARGUMENTS[argument])]
    for operand in operands:
        steps += [(code, 0, 1, operand), (RETURN, 0, 0, ALLOW)]
    steps += [(RETURN, 0, 0, REFUSE | errno.EPERM)]
    return [(EQUAL, 0, len(steps), number), *steps]

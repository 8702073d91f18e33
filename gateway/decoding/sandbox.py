"""Limits of a decoding process: what a file that takes it over could do.

It keeps the descriptors that it was given, and can open no file, no socket and no process. Where the kernel
takes no filter of system calls, and on other machines than x86-64, only the limits on memory, time and
descriptors hold.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import resource
import signal
from dataclasses import dataclass
from pathlib import Path

from deepfake_triton.host.compute_only import compute_only_filter

_LIBC = ctypes.CDLL(None, use_errno=True)
_PR_SET_PDEATHSIG = 1
CHANNEL, FILE, OUTPUT = 3, 4, 5
"""Descriptors of a child: its connection to the gateway, the upload, and what it may write."""
MAX_DESCRIPTORS = 16
_CPU_GRACE_S = 5


@dataclass(frozen=True)
class ChildLimits:
    """Limits of one decoding process.

    Attributes:
        memory_bytes: Address space beside what it starts with.
        cpu_s: CPU time in seconds.
        file_bytes: Size of what it writes, into descriptors that it was given.
    """

    memory_bytes: int
    cpu_s: int
    file_bytes: int


class MemoryGauge:
    """Tells whether this process came near its limit of memory: FFmpeg says that there is none also where a
    damaged file claims sizes that no machine has."""

    def __init__(self, allowance_bytes: int) -> None:
        self._allowance_bytes = allowance_bytes
        self._status = os.open("/proc/self/status", os.O_RDONLY | os.O_CLOEXEC)  # nothing is opened later
        self._start_bytes = self._peak_bytes()

    @property
    def is_used_up(self) -> bool:
        """Whether half of the allowance has been in use at once."""
        return self._peak_bytes() - self._start_bytes > self._allowance_bytes / 2

    def _peak_bytes(self) -> int:
        status = os.pread(self._status, 1 << 14, 0)
        return 1024 * int(status.partition(b"VmPeak:")[2].split()[0])


def enter_sandbox(limits: ChildLimits, parent: int, *, needs_filter: bool = True) -> MemoryGauge:
    """Limit this process for ever, and let it end with its `parent`, a process id.

    Raises OSError where the system does not take the limits, or a filter that is needed.
    """
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        raise ProcessLookupError(errno.ESRCH, "the parent has ended")
    with contextlib.suppress(OSError):  # where memory is short, the system ends this process first
        Path("/proc/self/oom_score_adj").write_text("1000")
    gauge = MemoryGauge(limits.memory_bytes)
    address_space = _address_space() + limits.memory_bytes
    for limit, soft, hard in (
        (resource.RLIMIT_AS, address_space, address_space),
        (resource.RLIMIT_CPU, limits.cpu_s, limits.cpu_s + _CPU_GRACE_S),
        (resource.RLIMIT_FSIZE, limits.file_bytes, limits.file_bytes),
        (resource.RLIMIT_NOFILE, MAX_DESCRIPTORS, MAX_DESCRIPTORS),
        (resource.RLIMIT_CORE, 0, 0),
    ):
        ceiling = resource.getrlimit(limit)[1]
        most = hard if ceiling == resource.RLIM_INFINITY else min(hard, ceiling)
        resource.setrlimit(limit, (min(soft, most), most))
    if not compute_only_filter().install() and needs_filter:
        raise OSError(errno.ENOSYS, "the kernel takes no filter of system calls")
    return gauge


def _address_space() -> int:
    """Return the size of this process's address space in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()

"""Names of shared-memory regions that clients register at servers, and whether their owner is alive.

A region's file is unlinked as soon as the server has mapped it, so that nothing is left in /dev/shm whatever
happens to the client. What remains is the server's mapping, which is unregistered by name.
"""

from __future__ import annotations

import itertools
import os
import re
import secrets
from pathlib import Path

from deepfake_triton.host.processes import read_process_stat

_PREFIX = "deepfake-triton-client"
_NAME = re.compile(rf"{_PREFIX}-(?P<namespace>\d+)-(?P<pid>\d+)-(?P<started>\d+)-\d+(-[0-9a-f]{{32}})?")
"""Name of a region; without the last part, of its file."""
_numbers = itertools.count()
_abandoned: set[str] = set()


def new_region_name() -> str:
    """Return a name that is unique on this host, names the process of its owner, and cannot be guessed:
    whoever knows it may have a server read or write the region."""
    pid = os.getpid()
    known = f"{_PREFIX}-{_pid_namespace()}-{pid}-{_start_ticks(pid) or 0}-{next(_numbers)}"
    return f"{known}-{secrets.token_hex(16)}"


def file_name(name: str) -> str:
    """Return the name of the region's file, which every user of the host may see."""
    return name.rpartition("-")[0]


def abandon_region(name: str) -> None:
    """Mark a region that this process needs no more but a server still keeps: the next client may sweep
    it."""
    _abandoned.add(name)


def reclaim_region(name: str) -> None:
    """Unmark an abandoned region: the server has let go of it."""
    _abandoned.discard(name)


def is_orphan(name: str) -> bool:
    """Whether the owner of a region has ended, or this process has abandoned it; False where that is
    unknown."""
    if name in _abandoned:
        return True
    found = _NAME.fullmatch(name)
    if found is None or found["namespace"] != str(_pid_namespace()):
        return False
    pid, recorded = int(found["pid"]), int(found["started"])
    started = _start_ticks(pid)
    return started != recorded if started and recorded else _has_ended(pid)


def _pid_namespace() -> int:
    return Path("/proc/self/ns/pid").stat().st_ino


def _start_ticks(pid: int) -> int | None:
    """Return the start of a process, in ticks since the machine's; None when there is no such process, or
    /proc hides those of other users (hidepid)."""
    try:
        return read_process_stat(pid).started_ticks
    except (OSError, IndexError):
        return None


def _has_ended(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):  # the name may say anything
        return True
    except PermissionError:
        return False
    return False

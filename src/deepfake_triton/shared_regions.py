"""Names of the shared memory that clients lend to servers on their host, and whether their owner lives.

A region's file is unlinked as soon as the server has opened it, so that nothing is left in /dev/shm whatever
happens to the client. What remains is the server's mapping, which is to be unregistered by name.
"""

from __future__ import annotations

import itertools
import os
import re
import secrets
from pathlib import Path

from deepfake_triton.processes import process_stat

_PREFIX = "deepfake-triton-client"
_NAME = re.compile(rf"{_PREFIX}-(?P<namespace>\d+)-(?P<pid>\d+)-(?P<started>\d+)-\d+(-[0-9a-f]{{32}})?")
"""Of a region, or without the last part of its file."""
_numbers = itertools.count()
_left: set[str] = set()


def new_region_name() -> str:
    """One that no other region on this host has, that tells of which process it is, and that nobody guesses:
    whoever knows it may have a server read or write the region."""
    pid = os.getpid()
    known = f"{_PREFIX}-{_pid_namespace()}-{pid}-{_started(pid) or 0}-{next(_numbers)}"
    return f"{known}-{secrets.token_hex(16)}"


def file_name(name: str) -> str:
    """The name of the region's file, which every user of the host may see."""
    return name.rpartition("-")[0]


def leave_region(name: str) -> None:
    """A server still keeps the region, which this process needs no more: its next client may sweep it."""
    _left.add(name)


def keep_region(name: str) -> None:
    """The server has let go of a region that had been left."""
    _left.discard(name)


def is_orphan(name: str) -> bool:
    """Whether the region of that name is a client's that has gone, or was left by this process; False where
    that cannot be known."""
    if name in _left:
        return True
    found = _NAME.fullmatch(name)
    if found is None or found["namespace"] != str(_pid_namespace()):
        return False
    pid, recorded = int(found["pid"]), int(found["started"])
    started = _started(pid)
    return started != recorded if started and recorded else _has_ended(pid)


def _pid_namespace() -> int:
    return Path("/proc/self/ns/pid").stat().st_ino


def _started(pid: int) -> int | None:
    """When a process began, in ticks since the machine's start; None when that cannot be read: there is none,
    or /proc hides those of other users (hidepid)."""
    try:
        return process_stat(pid).started_ticks
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

"""Read the processes of this host from /proc (proc_pid_stat(5))."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ProcessStat:
    """Content of `/proc/PID/stat`: the name, which may hold any character, and the fields after it."""

    pid: int
    name: str
    fields: tuple[str, ...]

    @property
    def is_zombie(self) -> bool:
        """Whether the process has ended, and its parent has not reaped it."""
        return self.fields[0] == "Z"

    @property
    def parent(self) -> int:
        """Process id of the parent."""
        return int(self.fields[1])

    @property
    def group(self) -> int:
        """Process group."""
        return int(self.fields[2])

    @property
    def started_ticks(self) -> int:
        """Start time in clock ticks since boot."""
        return int(self.fields[19])


def read_process_stat(pid: int) -> ProcessStat:
    """Read the state of a process.

    Raises OSError if there is none, or if /proc hides those of other users (hidepid).
    """
    # Any user may give a process a name that is not UTF-8.
    head, _, tail = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")
    return ProcessStat(pid, head.partition("(")[2], tuple(tail.split()))


def visible_processes() -> Iterator[ProcessStat]:
    """Yield the visible processes."""
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            yield read_process_stat(int(path.name))

"""Processes of this host as /proc shows them (proc_pid_stat(5))."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ProcessStat:
    """`/proc/PID/stat`: the name, which may hold anything, and the fields from the state on, as text."""

    pid: int
    name: str
    fields: tuple[str, ...]

    @property
    def is_zombie(self) -> bool:
        """Whether it has ended, and its parent has not noticed."""
        return self.fields[0] == "Z"

    @property
    def parent(self) -> int:
        """Process id of its parent."""
        return int(self.fields[1])

    @property
    def group(self) -> int:
        """Its process group."""
        return int(self.fields[2])

    @property
    def started_ticks(self) -> int:
        """When it began, in ticks since the start of the machine."""
        return int(self.fields[19])


def process_stat(pid: int) -> ProcessStat:
    """Raises OSError when there is no such process, or /proc hides those of other users (hidepid)."""
    # Any user may give a process a name that is no UTF-8.
    head, _, tail = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")
    return ProcessStat(pid, head.partition("(")[2], tuple(tail.split()))


def all_processes() -> Iterator[ProcessStat]:
    """Those that can be seen now."""
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            yield process_stat(int(path.name))

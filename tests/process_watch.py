"""What a process holds, from outside: memory, files, threads, children."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from serve_command import alive, descendants

_RESET_PEAK = "5"


@dataclass(frozen=True)
class Holdings:
    """What one process holds at a moment.

    Attributes:
        memory_bytes: Its own resident memory, without files and what it shares.
        num_files: Open descriptors, apart from those of a folder's files.
        num_threads: Threads.
        children: Process ids below it.
    """

    memory_bytes: int
    num_files: int
    num_threads: int
    children: frozenset[int]


def holdings_of(pid: int, *, apart_from: Path) -> Holdings:
    """What a process holds now, without open files of a folder."""
    return Holdings(
        _status(pid, "RssAnon") * 1024,
        len(list(Path(f"/proc/{pid}/fd").iterdir())) - len(files_under(apart_from, {pid})),
        _status(pid, "Threads"),
        frozenset(alive(descendants(pid))),
    )


@contextmanager
def peak_growth(pid: int) -> Iterator[Callable[[], int]]:
    """Reset a process's peak of resident memory; what is yielded returns by how many bytes it has risen."""
    Path(f"/proc/{pid}/clear_refs").write_text(_RESET_PEAK)
    before = _status(pid, "VmHWM")
    yield lambda: (_status(pid, "VmHWM") - before) * 1024


def files_under(folder: Path, pids: set[int]) -> list[str]:
    """Files of a folder that processes hold open, also those whose name is gone."""
    found = []
    for pid in pids:
        with contextlib.suppress(OSError):  # it has ended
            for link in os.scandir(f"/proc/{pid}/fd"):
                with contextlib.suppress(OSError):
                    found.append(os.readlink(link.path))  # noqa: PTH115 - not a path: "… (deleted)"
    return [name for name in found if name.startswith(f"{folder}/")]


def everyone() -> set[int]:
    """All processes whose files may be seen."""
    return {int(path.name) for path in Path("/proc").glob("[0-9]*")}


def _status(pid: int, field: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1])
    raise AssertionError(f"/proc/{pid}/status has no {field}")

"""Checks of a running Triton from outside, and the reasons to restart it."""

from __future__ import annotations

import signal
from collections.abc import Collection, Iterator

from deepfake_triton.host.processes import ProcessStat, visible_processes
from deepfake_triton.serving.http_api import HttpApi
from deepfake_triton.shared_memory.regions import is_orphan

MISSING_CHECKS = 3
"""Consecutive checks that have to miss a model before it counts as lost."""


def exit_reason(status: int, log: str) -> str | None:
    """Return why a Triton that had been ready has to be restarted; None where it was asked to end."""
    if status == 0:
        return None
    if status < 0:
        return f"tritonserver was ended by {signal_name(-status)}"
    return f"tritonserver ended by itself with status {status} ({log})"


class Watch:
    """Repeated checks of one server. No answer is no fault: the server may be paused."""

    def __init__(self, pid: int, api: HttpApi, *, models: Collection[str] = ()) -> None:
        """Watch a process; `models` have to stay loaded."""
        self._pid = pid
        self._api = api
        self._expected = set(models)
        self._lost: set[int] = set()
        self._missing = 0

    def check(self) -> str | None:
        """Return why the server has to be killed and restarted; None where no fault is known."""
        self._sweep_regions()
        before, self._lost = self._lost, _zombie_steps(self._pid)
        if before & self._lost:  # a model that is unloaded loses its process for a moment only
            return "the process of a Python model ended, which Triton does not survive"
        loaded = self._api.loaded_models() if self._expected else None
        if loaded is None:
            return None
        gone = self._expected - loaded
        self._missing = self._missing + 1 if gone else 0
        if self._missing >= MISSING_CHECKS:
            return f"{', '.join(sorted(gone))} was unloaded by an unknown caller"
        return None

    def _sweep_regions(self) -> None:
        """Unregister the shared memory of clients that were killed."""
        for name in filter(is_orphan, self._api.shared_regions()):
            self._api.unregister(name)


def running_steps(pid: int) -> set[int]:
    """Return the processes of a server's Python models."""
    return {process.pid for process in _steps(pid) if not process.is_zombie}


def _zombie_steps(pid: int) -> set[int]:
    """Return the processes of Python models that ended and that Triton has not reaped; 2.51 never does."""
    return {process.pid for process in _steps(pid) if process.is_zombie}


def _steps(pid: int) -> Iterator[ProcessStat]:
    for process in visible_processes():
        if process.parent == pid and process.name.startswith("triton_python"):
            yield process


def signal_name(number: int) -> str:
    """Return the name of a signal, such as SIGSEGV."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"

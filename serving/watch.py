"""What goes wrong with a running Triton, as seen from outside: why it has to be started again."""

from __future__ import annotations

import contextlib
import signal
from pathlib import Path

from deepfake_triton.serving.http_api import HttpApi
from deepfake_triton.shared_regions import is_orphan

LOST_CHECKS = 2
"""A model that is unloaded loses its process for a moment only."""
MISSING_CHECKS = 3


def reason_of_exit(status: int, log: str) -> str | None:
    """Why a Triton that had been ready has to be started again; None where it was asked to end."""
    if status == 0:
        return None
    if status < 0:
        return f"tritonserver was ended by {signal_name(-status)}"
    return f"tritonserver ended by itself with status {status} ({log})"


class Watch:
    """Repeated checks of one server. Only what it says counts, not that it says nothing: it may be paused."""

    def __init__(self, pid: int, api: HttpApi, *, keeps_models: bool) -> None:
        """With `keeps_models`, whatever is loaded at the first check has to stay so."""
        self._pid = pid
        self._api = api
        self._keeps_models = keeps_models
        self._expected: set[str] | None = None
        self._lost = 0
        self._missing = 0

    def check(self) -> str | None:
        """Why the server has to be killed and started again; None where nothing is known to be wrong."""
        self._sweep_regions()
        self._lost = self._lost + 1 if _has_lost_step(self._pid) else 0
        if self._lost >= LOST_CHECKS:
            return "the process of a Python model ended, which Triton does not survive"
        loaded = self._api.loaded_models() if self._keeps_models else None
        if loaded is None:
            return None
        if self._expected is None:
            self._expected = loaded
        gone = self._expected - loaded
        self._missing = self._missing + 1 if gone else 0
        if self._missing >= MISSING_CHECKS:
            return f"{', '.join(sorted(gone))} was unloaded, by whom is not known"
        return None

    def _sweep_regions(self) -> None:
        """Unregister the shared memory of clients that were killed."""
        for name in filter(is_orphan, self._api.shared_regions()):
            self._api.unregister(name)


def _has_lost_step(pid: int) -> bool:
    """Whether a process of a Python model has ended and waits for Triton to notice, which 2.51 never does."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            name, state, parent = _process(path)
            if parent == pid and state == "Z" and name.startswith("triton_python"):
                return True
    return False


def _process(stat: Path) -> tuple[str, str, int]:
    """Name, state and parent, by the `stat` of a folder in /proc (proc_pid_stat(5))."""
    head, _, tail = stat.read_text().rpartition(")")
    state, parent = tail.split()[:2]
    return head.partition("(")[2], state, int(parent)


def signal_name(number: int) -> str:
    """Such as SIGSEGV."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"

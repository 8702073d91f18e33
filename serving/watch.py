"""What goes wrong with a running Triton, as seen from outside: why it has to be started again."""

from __future__ import annotations

import signal
from collections.abc import Collection

from deepfake_triton.processes import all_processes
from deepfake_triton.serving.http_api import HttpApi
from deepfake_triton.shared_regions import is_orphan

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

    def __init__(self, pid: int, api: HttpApi, *, models: Collection[str] = ()) -> None:
        """`models` have to stay loaded."""
        self._pid = pid
        self._api = api
        self._expected = set(models)
        self._lost: set[int] = set()
        self._missing = 0

    def check(self) -> str | None:
        """Why the server has to be killed and started again; None where nothing is known to be wrong."""
        self._sweep_regions()
        before, self._lost = self._lost, _lost_steps(self._pid)
        if before & self._lost:  # a model that is unloaded loses its process for a moment only
            return "the process of a Python model ended, which Triton does not survive"
        loaded = self._api.loaded_models() if self._expected else None
        if loaded is None:
            return None
        gone = self._expected - loaded
        self._missing = self._missing + 1 if gone else 0
        if self._missing >= MISSING_CHECKS:
            return f"{', '.join(sorted(gone))} was unloaded, by whom is not known"
        return None

    def _sweep_regions(self) -> None:
        """Unregister the shared memory of clients that were killed."""
        for name in filter(is_orphan, self._api.shared_regions()):
            self._api.unregister(name)


def _lost_steps(pid: int) -> set[int]:
    """Processes of Python models that have ended and wait for Triton to notice, which 2.51 never does."""
    return {
        found.pid
        for found in all_processes()
        if found.parent == pid and found.is_zombie and found.name.startswith("triton_python")
    }


def signal_name(number: int) -> str:
    """Such as SIGSEGV."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"

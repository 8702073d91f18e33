"""Triton's log: forwarded to stderr without secrets, and kept to tell why it ended."""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable

from deepfake_triton.serving.process.startup_errors import is_harmless, reason_from_log

_MAX_LINES = 2000
_TRITON_LINE = re.compile(r"[EWI]\d{4} ")
"""A line of Triton's own; before the first, the dynamic loader may write."""
_END_TIMEOUT_S = 5.0


class LogReader:
    """Reads the output of a tritonserver in a thread, for else it would block on a full pipe."""

    def __init__(
        self, process: subprocess.Popen[str], redact: Callable[[str], str], *, shows_harmless: bool
    ) -> None:
        """`redact` removes secrets from a line; `shows_harmless`: forward also what is no problem."""
        self._process = process
        self._redact = redact
        self._shows_harmless = shows_harmless
        self._lines: deque[str] = deque(maxlen=_MAX_LINES)
        self._thread = threading.Thread(target=self._read, name="triton-log", daemon=True)
        self._thread.start()

    @property
    def has_begun(self) -> bool:
        """Whether Triton logs, and so has read its options."""
        return any(map(_TRITON_LINE.match, list(self._lines)))

    @property
    def tells_lost_lock(self) -> bool:
        """Whether Triton's Python backend aborted for a lock between its processes, which passes."""
        return any("boost::interprocess::lock_exception" in line for line in list(self._lines))

    def failure_reason(self) -> str:
        """Return why the server ended, in its own words."""
        return reason_from_log(list(self._lines))

    def join(self) -> None:
        """Wait until the log of a process that ended is read."""
        self._thread.join(_END_TIMEOUT_S)

    def _read(self) -> None:
        assert self._process.stdout is not None
        for raw in self._process.stdout:
            line = self._redact(raw)
            self._lines.append(line.rstrip("\n"))
            if self._shows_harmless or not is_harmless(line):
                with contextlib.suppress(OSError, ValueError):  # stderr is closed: read on, or Triton blocks
                    sys.stderr.write(line)

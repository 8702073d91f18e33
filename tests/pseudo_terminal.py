"""A process on a real pseudo-terminal, and what it writes there."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
from pathlib import Path

COMMAND = str(Path(sys.executable).with_name("deepfake-triton"))


def on_terminal(
    code: str | list[str], *, stdout_too: bool, interrupt: bool = False, term: str = "xterm"
) -> tuple[str, str]:
    """What the terminal got, and what stdout got where that is no terminal, from Python code or from
    arguments of the command."""
    controller, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-c", code] if isinstance(code, str) else [COMMAND, *code],
        stdin=subprocess.DEVNULL,
        stdout=terminal if stdout_too else subprocess.PIPE,
        stderr=terminal,
        text=True,
        env={**os.environ, "TERM": term},
    )
    os.close(terminal)
    seen = ""
    with contextlib.suppress(OSError):  # EIO is how a terminal says that all is read
        while part := os.read(controller, 1 << 16).decode(errors="replace"):
            seen += part
            if interrupt and "of 9" in seen:
                process.send_signal(signal.SIGINT)
                interrupt = False
    os.close(controller)
    out = process.stdout.read() if process.stdout else ""
    process.wait(timeout=60)
    return seen, out

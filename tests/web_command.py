"""The command `web` as a process: started on free ports, asked, and ended with its test."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

COMMAND = str(Path(sys.executable).with_name("deepfake-triton"))
LAST_LINE = "  kept "


@dataclass(frozen=True)
class Gateway:
    """A gateway that has said that it is ready."""

    process: subprocess.Popen[str]
    said: str
    page: str
    grpc: str


@contextmanager
def running_web(*options: str | Path, environment: Mapping[str, str] | None = None) -> Iterator[Gateway]:
    """The command on free ports, once it is ready. Raises AssertionError, with its errors, where it ends."""
    process = subprocess.Popen(
        [COMMAND, "web", "--port", "0", "--grpc-port", "0", *map(str, options)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
    )  # fmt: skip
    try:
        yield _until_ready(process)
    finally:
        if process.poll() is None:
            process.terminate()
            process.communicate(timeout=120)


def refused(*options: str | Path) -> list[str]:
    """The errors, by lines, of a command that does not get as far as listening; on free ports, unless
    `options` name others."""
    done = subprocess.run(
        [COMMAND, "web", "--port", "0", "--grpc-port", "0", *map(str, options)],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 1 and done.stdout == "" and "Traceback" not in done.stderr
    return done.stderr.splitlines()


def _until_ready(process: subprocess.Popen[str]) -> Gateway:
    assert process.stdout is not None and process.stderr is not None
    lines: list[str] = []
    for line in process.stdout:
        lines.append(line)
        if line.startswith(LAST_LINE):
            said = "".join(lines)
            found = re.search(r"page +(\S+)\n(?:.*\n)+? +gRPC +([^\s,]+)", said)
            assert found, said
            return Gateway(process, said, *found.groups())
    raise AssertionError(process.stderr.read())

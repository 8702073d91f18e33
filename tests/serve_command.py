"""The command `serve` as a process: started on free ports, looked at from outside, ended with its test."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

COMMAND = str(Path(sys.executable).with_name("deepfake-triton"))
FREE_PORTS = ["--grpc-port", "0", "--http-port", "0", "--metrics-port", "0"]
LAST_LINE = "  trust "
OTHER_USER = 65534


@dataclass(frozen=True)
class Served:
    """A server that has said that it is ready."""

    process: subprocess.Popen[str]
    said: str
    grpc: str
    http: str
    metrics: str

    @property
    def triton(self) -> int:
        """Process id of its tritonserver, a new one after each restart."""
        return triton_below(self.process.pid)


@contextmanager
def serving(
    repository: Path,
    *options: str,
    environment: Mapping[str, str] | None = None,
    launcher: Sequence[str] = (),
) -> Iterator[Served]:
    """The command on free ports, unless `options` name others, once it is ready; `launcher` starts it."""
    process = subprocess.Popen(
        [*launcher, COMMAND, "serve", str(repository), *FREE_PORTS, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **(environment or {})},
    )
    try:
        yield until_ready(process)
    finally:
        if process.poll() is None:
            process.terminate()
        process.communicate(timeout=60)


def until_ready(process: subprocess.Popen[str]) -> Served:
    """Read what it says until it is ready. Raises AssertionError, with its errors, where it ends."""
    assert process.stdout is not None and process.stderr is not None
    lines: list[str] = []
    for line in process.stdout:
        lines.append(line)
        if line.startswith(LAST_LINE):
            said = "".join(lines)
            found = re.search(r"gRPC +(\S+)\n +HTTP +(\S+)\n +metrics +(\S+)", said)
            assert found, said
            return Served(process, said, *found.groups())
    raise AssertionError(process.stderr.read())


def triton_below(pid: int) -> int:
    """The process id of the one tritonserver below `pid`."""
    found = [each for each in descendants(pid) if _executable(each).endswith("/tritonserver")]
    assert len(found) == 1, found
    return found[0]


def descendants(pid: int) -> set[int]:
    """Process ids below `pid`, from /proc."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
            except (OSError, IndexError):
                continue  # it ended meanwhile
    found: set[int] = set()
    while grown := {child for child, parent in parents.items() if parent in found | {pid}} - found:
        found |= grown
    return found


def alive(pids: set[int]) -> set[int]:
    """Those that have not ended."""
    running = set()
    for pid in pids:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except OSError:
            continue
        if state != "Z":
            running.add(pid)
    return running


def wait_until(condition: Callable[[], object], timeout_s: float = 60) -> bool:
    """Whether it came true in time."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.1)
    return False


def run_serve(*arguments: str, **environment: str) -> tuple[int, list[str]]:
    """Status and errors of a command that is refused; on free ports, unless `arguments` name others."""
    done = subprocess.run(
        [COMMAND, "serve", *FREE_PORTS, *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, **environment},
    )
    assert done.stdout == "" and "Traceback" not in done.stderr
    return done.returncode, done.stderr.splitlines()


def pending_requests(metrics_url: str, model: str) -> int:
    """How many requests wait in the model's queue, by Triton's own metric."""
    with urllib.request.urlopen(metrics_url, timeout=30) as answer:
        found = re.search(
            rf'nv_inference_pending_request_count\{{model="{model}",[^}}]*\}} (\d+)', answer.read().decode()
        )
    return int(found[1]) if found else 0


def _executable(pid: int) -> str:
    try:
        return str(Path(f"/proc/{pid}/exe").readlink())
    except OSError:
        return ""

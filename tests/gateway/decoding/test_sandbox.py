"""What a process in the sandbox can still do: compute, use its threads and its descriptors; nothing else."""

from __future__ import annotations

import ctypes
import fcntl
import multiprocessing
import os
import platform
import resource
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from unfiltered_kernel import refuse_filters

from deepfake_triton.gateway.decoding.sandbox import ChildLimits, enter_sandbox

pytestmark = [
    pytest.mark.fast,
    pytest.mark.skipif(platform.machine() != "x86_64", reason="system calls are filtered on x86-64 only"),
]

LIMITS = ChildLimits(memory_bytes=64 * 2**20, cpu_s=5, file_bytes=1000)


def outcome_inside(action: Callable[[], object]) -> str:
    """What an action does in a sandboxed copy of this process: `done`, or the name of its error."""
    reader, writer = os.pipe()
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        try:
            enter_sandbox(LIMITS, parent)
            action()
            os.write(writer, b"done")
        except (OSError, ValueError, MemoryError, subprocess.SubprocessError) as error:
            os.write(writer, type(error).__name__.encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as answers:
        answer = answers.read().decode()
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    return answer or signal.Signals(-code).name


def call(number: int, *arguments: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syscall(number, *arguments) < 0:
        raise OSError(ctypes.get_errno(), "refused")


def end_by_signal() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # another test may have set a handler
    signal.raise_signal(signal.SIGTERM)


def start_thread() -> None:
    thread = threading.Thread(target=lambda: None)
    thread.start()
    thread.join()


FORBIDDEN: dict[str, Callable[[], object]] = {
    "read a file": lambda: Path("/etc/passwd").read_text(),
    "write a file": lambda: Path("/tmp/sandbox-test").write_text("x"),
    "make a folder": lambda: Path("/tmp/sandbox-test").mkdir(),
    "list a folder": lambda: os.listdir("/"),  # noqa: PTH208
    "open a socket": lambda: socket.socket(socket.AF_INET),
    "open a local socket": lambda: socket.socket(socket.AF_UNIX),
    "fork": os.fork,
    "clone3": lambda: call(435, 0, 0),
    "run a program": lambda: os.execv(sys.executable, [sys.executable, "-c", ""]),
    "start a program": lambda: subprocess.run(["true"], check=True),
    "kill another": lambda: os.kill(os.getppid(), 0),
    "signal a thread of another": lambda: call(234, os.getppid(), os.getppid(), 0),
    "trace another": lambda: call(101, 16, os.getppid(), 0, 0),
    "raise a limit": lambda: resource.setrlimit(resource.RLIMIT_CPU, (100, 100)),
    "raise a limit by prlimit": lambda: resource.prlimit(0, resource.RLIMIT_CPU, (100, 100)),
    "outlive its parent": lambda: call(157, 1, 0, 0, 0, 0),
    "make memory to share": lambda: os.memfd_create("x"),
    "have others signaled": lambda: fcntl.fcntl(1, fcntl.F_SETOWN, os.getppid()),
    "control a device": lambda: call(16, 1, 0x8901, 0),
    "slow others down": lambda: os.setpriority(os.PRIO_PROCESS, os.getppid(), 19),
    "use io_uring": lambda: call(425, 1, 0),
    "call by the x32 interface": lambda: call(0x40000000 + 39),
}


@pytest.mark.parametrize("action", FORBIDDEN.values(), ids=FORBIDDEN)
def test_what_is_refused(action: Callable[[], object]) -> None:
    assert outcome_inside(action) in {"PermissionError", "OSError", "ValueError"}


ALLOWED: dict[str, Callable[[], object]] = {
    "start a thread": start_thread,
    "read its limits": lambda: resource.prlimit(0, resource.RLIMIT_STACK),
    "use memory": lambda: bytearray(16 * 2**20),
    "read the flags of a file": lambda: fcntl.fcntl(1, fcntl.F_GETFL),
    "use open files": lambda: os.write(1, b""),
}


@pytest.mark.parametrize("action", ALLOWED.values(), ids=ALLOWED)
def test_what_decoding_needs(action: Callable[[], object]) -> None:
    assert outcome_inside(action) == "done"


@pytest.mark.parametrize(("needs_filter", "outcome"), [(True, 1), (False, 0)])
def test_a_kernel_without_filters_is_noticed(needs_filter: bool, outcome: int) -> None:
    def enter(parent: int) -> None:
        assert refuse_filters()
        enter_sandbox(LIMITS, parent, needs_filter=needs_filter)

    process = multiprocessing.get_context("fork").Process(target=enter, args=(os.getpid(),))
    process.start()
    process.join()
    assert process.exitcode == outcome


def test_limits_hold(tmp_path: Path) -> None:
    assert outcome_inside(lambda: bytearray(200 * 2**20)) == "MemoryError"
    assert outcome_inside(end_by_signal) == "SIGTERM"
    with (tmp_path / "file").open("wb", buffering=0) as file:
        assert outcome_inside(lambda: [file.write(b"x" * 800) for _ in range(2)]) == "done"
        assert file.tell() == 1000
        assert outcome_inside(lambda: file.write(b"x")) == "OSError"


def test_a_parent_that_has_gone_is_noticed() -> None:
    process = multiprocessing.get_context("fork").Process(target=enter_sandbox, args=(LIMITS, 1))
    process.start()
    process.join()
    assert process.exitcode == (0 if os.getpid() == 1 else 1)

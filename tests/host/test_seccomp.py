"""A system-call filter that a process installs for itself."""

from __future__ import annotations

import errno
import os
import platform

import pytest

from deepfake_triton.host.seccomp import ALLOW, EQUAL, LOAD, NUMBER, REFUSE, RETURN, SystemCallFilter

pytestmark = pytest.mark.fast

_SYS_GETPPID = 110


def filtered_parent(instructions: list[tuple[int, int, int, int]]) -> tuple[bool, int]:
    """Whether a child could install a filter, and what it then takes for its parent."""
    reader, writer = os.pipe()
    installed = SystemCallFilter(instructions).install
    pid = os.fork()
    if pid == 0:
        is_installed = installed()
        os.write(writer, f"{int(is_installed)} {os.getppid()}".encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as answer:
        told, parent = answer.read().split()
    os.waitpid(pid, 0)
    return told == b"1", int(parent)


@pytest.mark.skipif(platform.machine() != "x86_64", reason="system calls are filtered on x86-64 only")
def test_a_filter_decides_what_a_call_returns() -> None:
    load, allow = (LOAD, 0, 0, NUMBER), (RETURN, 0, 0, ALLOW)
    assert filtered_parent([load, allow]) == (True, os.getpid())
    nothing = [load, (EQUAL, 0, 1, _SYS_GETPPID), (RETURN, 0, 0, REFUSE), allow]
    assert filtered_parent(nothing) == (True, 0), "success without effect"
    refused = [load, (EQUAL, 0, 1, _SYS_GETPPID), (RETURN, 0, 0, REFUSE | errno.EPERM), allow]
    assert filtered_parent(refused) == (True, -1)


def test_an_invalid_filter_is_not_installed() -> None:
    assert filtered_parent([(LOAD, 0, 0, NUMBER)]) == (False, os.getpid())

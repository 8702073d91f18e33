"""A filter that lets a process compute: each call that is not listed is refused, also those of the future."""

from __future__ import annotations

import ctypes
import errno
import json
import os
import platform
from collections.abc import Callable

import pytest
from unfiltered_kernel import refuse_filters

from deepfake_triton.host import compute_only
from deepfake_triton.host.compute_only import compute_only_filter, takes_filter

pytestmark = [
    pytest.mark.fast,
    pytest.mark.skipif(platform.machine() != "x86_64", reason="system calls are filtered on x86-64 only"),
]

CONDITIONAL = {56, 72, 157, 234, 302}
"""clone, fcntl, prctl, tgkill, prlimit64: allowed or refused by their arguments."""
KERNEL_S_OWN = {335, 336}
"""uretprobe and uprobe, which no filter sees: outside the kernel's own code they end the process."""


def told_by_child(action: Callable[[], object]) -> object:
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(writer, json.dumps(action()).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as answers:
        answer = answers.read()
    os.waitpid(pid, 0)
    return json.loads(answer) if answer else None


def refusals() -> dict[str, list[int]]:
    """Numbers of the calls by the error that they get behind the filter."""
    assert compute_only_filter().install()
    libc = ctypes.CDLL(None, use_errno=True)
    found: dict[str, list[int]] = {}
    for number in (*range(600), 10_000, 0x40000000 + 2):
        if number not in compute_only._ALLOWED and number not in CONDITIONAL | KERNEL_S_OWN:
            done = libc.syscall(number, -1, -1, -1, -1, -1, -1) >= 0
            found.setdefault("done" if done else errno.errorcode[ctypes.get_errno()], []).append(number)
    return found


def test_every_call_that_is_not_listed_is_refused() -> None:
    found = told_by_child(refusals)
    assert isinstance(found, dict) and found.keys() == {"EPERM", "ENOSYS"}
    opens, signals, shares, settings = (
        {2, 85, 257},
        {62, 129, 200, 297},
        {29, 31, 66, 71, 220},
        {116, 227, 305},
    )
    assert opens | signals | shares | settings | {16, 42, 101, 162} <= set(found["EPERM"])
    assert {424, 425, 435, 437, 442, 448, 463, 466, 469, 599, 10_000, 0x40000002} <= set(found["ENOSYS"])


def test_it_tells_whether_the_kernel_takes_it() -> None:
    assert takes_filter()
    assert told_by_child(lambda: [refuse_filters(), takes_filter()]) == [True, False]

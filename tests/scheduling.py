"""The scheduling of the process that runs the tests.

As root, the encoder libsvtav1 gives the thread that calls it, and so all that this thread starts later, the
highest real-time priority (SCHED_FIFO, 99): servers and browsers of other tests then get no time at all.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def scheduling_kept() -> Iterator[None]:
    """Give this thread at the end the policy that it had."""
    policy, parameters = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        os.sched_setscheduler(0, policy, parameters)


def changed_scheduling(policy: int) -> str:
    """What is wrong where this thread has not that policy any more, which it gets again; else empty."""
    if (found := os.sched_getscheduler(0)) == policy:
        return ""
    os.sched_setscheduler(0, policy, os.sched_param(0))
    return f"scheduling policy: got {found}, expected {policy}: encode within scheduling_kept()"

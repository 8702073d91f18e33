"""An encoder that takes real-time priority does not keep it."""

from __future__ import annotations

import os

import pytest
from scheduling import changed_scheduling, scheduling_kept

pytestmark = [
    pytest.mark.fast,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root may have real-time priority"),
]


def test_a_policy_that_is_taken_is_given_back() -> None:
    usual = os.sched_getscheduler(0)
    with scheduling_kept():
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(99))
    assert os.sched_getscheduler(0) == usual and changed_scheduling(usual) == ""


def test_a_policy_that_is_kept_is_noticed_and_taken_back() -> None:
    usual = os.sched_getscheduler(0)
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(99))
    assert "expected 0" in changed_scheduling(usual)
    assert os.sched_getscheduler(0) == usual

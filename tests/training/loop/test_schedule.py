"""Schedules by steps and by the clock, requests to stop, and files in parts."""

from __future__ import annotations

import os
import pickle
import signal
import time
from pathlib import Path

import pytest

from deepfake_triton.training.loop.frame_phase import _Saves
from deepfake_triton.training.loop.parts import remove_parts, write_parts
from deepfake_triton.training.loop.run_state import RunState
from deepfake_triton.training.loop.schedule import (
    Budget,
    ClockSchedule,
    StepSchedule,
    StopRequest,
    stop_on_signals,
)
from deepfake_triton.training.loop.settings import FrameSettings

pytestmark = pytest.mark.fast

SETTINGS = FrameSettings(steps=100, warmup=10, learning_rate=1.0, strength_start=2.0, strength_share=0.5)


def at_progress(progress: float) -> ClockSchedule:
    """A schedule of a thousand seconds, of which a part is over."""
    begin_s = time.monotonic() - 1000 * progress
    return ClockSchedule(SETTINGS, begin_s, begin_s + 1000)


def test_a_schedule_by_the_clock_is_that_by_steps_at_the_same_progress() -> None:
    steps = pickle.loads(pickle.dumps(StepSchedule(SETTINGS)))
    for step in (20, 50, 80, 99):
        clock = pickle.loads(pickle.dumps(at_progress(step / 100)))
        assert clock.progress(7) == pytest.approx(steps.progress(step), abs=1e-3)
        assert clock.strength(7) == pytest.approx(steps.strength(step), abs=2e-3)
        assert clock.learning_rate(500) == pytest.approx(steps.learning_rate(step), abs=0.1)
        assert clock.keeps_norms(7) == steps.keeps_norms(step)
        assert not clock.is_over(7) and not steps.is_over(step)
    assert at_progress(0.0).learning_rate(4) == pytest.approx(0.5, abs=1e-3)  # the warm-up counts steps
    assert at_progress(1.0).learning_rate(500) == pytest.approx(0, abs=1e-6)
    assert at_progress(1.2).is_over(1) and not at_progress(1.2).is_over(0)
    assert steps.is_over(100) and steps.end == 100 and at_progress(0.25).expected_steps(50) == 200


def test_states_are_saved_by_step_or_by_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now_s)
    short, long = (ClockSchedule(SETTINGS, now_s, now_s + length_s) for length_s in (80, 10_000))
    by_step = _Saves(StepSchedule(SETTINGS), 3, by_time=False)
    assert [step for step in range(1, 8) if by_step.is_due(step)] == [3, 6]
    for schedule, interval_s in ((short, 10), (long, 120), (StepSchedule(SETTINGS), 120)):
        now_s, begin_s, times = 1000.0, 1000.0, []
        saves = _Saves(schedule, 3, by_time=True)
        for step in range(40):
            now_s += 10
            times += [now_s - begin_s] if saves.is_due(step) else []
        assert times == [interval_s * count for count in range(1, 400 // interval_s + 1)]


def test_a_resumed_budget_goes_on() -> None:
    budget = Budget(time.monotonic() - 30, 60)
    assert budget.used_s() == pytest.approx(30, abs=1) and budget.at(0.5) <= time.monotonic()
    state = RunState(1, seconds=12.5)
    assert RunState.from_stored(state.to_stored()) == state
    assert "seconds" not in RunState(1).to_stored()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_requests_a_stop_and_the_second_does_what_it_did(
    number: signal.Signals, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[int] = []
    before = signal.signal(number, lambda got, _: seen.append(got))
    try:
        stop = StopRequest()
        with stop_on_signals(stop):
            os.kill(os.getpid(), number)
            assert stop.requested and not seen
            os.kill(os.getpid(), number)
            assert seen == [number]
        with stop_on_signals(StopRequest()):
            pass
        os.kill(os.getpid(), number)
        assert seen == [number, number]
    finally:
        signal.signal(number, before)
    assert f"{number.name}: ending in a checkpoint" in capsys.readouterr().err


@pytest.mark.parametrize(("size", "count"), [(0, 0), (1, 1), (3_000_000, 1), (3_000_001, 2), (7_000_000, 3)])
def test_parts_join_to_the_file(size: int, count: int, tmp_path: Path) -> None:
    file, data = tmp_path / "weights", os.urandom(size)
    for stale in range(5):
        (tmp_path / f"weights.part-{stale:03d}").write_bytes(b"old")
    file.write_bytes(data)
    parts = write_parts(file, 3_000_000)
    assert parts == sorted(tmp_path.glob("weights.part-*")) and len(parts) == count
    assert b"".join(part.read_bytes() for part in parts) == data
    assert all(part.stat().st_size <= 3_000_000 for part in parts)
    remove_parts(file)
    assert list(tmp_path.iterdir()) == [file]

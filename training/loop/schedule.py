"""Schedules of a run: by steps, or by the clock, which always leaves time to end in a checkpoint."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Protocol

from deepfake_triton.training.loop.settings import FrameSettings

LAST_STEP = 10**7 - 1
"""No phase has more steps: the seeds of the next phase follow."""


class Schedule(Protocol):
    """What a phase does at a step, counted from 0; the methods are also called in worker processes."""

    @property
    def end(self) -> int:
        """The step after the last possible one."""
        ...

    def progress(self, step: int) -> float:
        """Return the part of the phase that is over, in 0…1."""
        ...

    def learning_rate(self, step: int) -> float:
        """Return the learning rate of a step."""
        ...

    def strength(self, step: int) -> float:
        """Return the strength of forgeries of a step."""
        ...

    def keeps_norms(self, step: int) -> bool:
        """Tell whether batch norms keep their statistics."""
        ...

    def is_over(self, step: int) -> bool:
        """Tell whether the phase ends before a step."""
        ...

    def expected_steps(self, step: int) -> int:
        """Return the steps of the whole phase, estimated after some of them."""
        ...


@dataclass(frozen=True)
class StepSchedule:
    """Schedule of a number of steps known beforehand."""

    settings: FrameSettings

    @property
    def end(self) -> int:
        """The number of steps."""
        return self.settings.steps

    def progress(self, step: int) -> float:
        """Return the fraction of the steps."""
        return step / self.settings.steps

    def learning_rate(self, step: int) -> float:
        """Return the learning rate of a step."""
        return self.settings.learning_rate_at(step)

    def strength(self, step: int) -> float:
        """Return the strength of forgeries of a step."""
        return self.settings.strength_at(step)

    def keeps_norms(self, step: int) -> bool:
        """Tell whether batch norms keep their statistics."""
        return step >= self.settings.norm_step

    def is_over(self, step: int) -> bool:
        """Tell whether all steps are done."""
        return step >= self.settings.steps

    def expected_steps(self, step: int) -> int:
        """Return the number of steps."""
        del step
        return self.settings.steps


@dataclass(frozen=True)
class ClockSchedule:
    """Schedule between two times of `time.monotonic()`; the warm-up alone counts steps."""

    settings: FrameSettings
    begin_s: float
    end_s: float

    @property
    def end(self) -> int:
        """A number of steps that is never reached."""
        return LAST_STEP

    def progress(self, step: int) -> float:
        """Return the fraction of the time that is over now."""
        del step
        return min(1.0, max(0.0, (time.monotonic() - self.begin_s) / max(1e-9, self.end_s - self.begin_s)))

    def learning_rate(self, step: int) -> float:
        """Return the learning rate of now."""
        return self.settings.learning_rate_for(step, self.progress(step))

    def strength(self, step: int) -> float:
        """Return the strength of forgeries made now."""
        return self.settings.strength_for(self.progress(step))

    def keeps_norms(self, step: int) -> bool:
        """Tell whether batch norms keep their statistics by now."""
        return self.progress(step) >= self.settings.norm_share

    def is_over(self, step: int) -> bool:
        """Tell whether the time is over; one step is always done."""
        return step > 0 and time.monotonic() >= self.end_s

    def expected_steps(self, step: int) -> int:
        """Return the steps at the pace so far."""
        return max(step, round(step / max(1e-3, self.progress(step))))


@dataclass(frozen=True)
class Budget:
    """Time of a whole run: `seconds` from `begin_s` of `time.monotonic()`, and the share of each phase."""

    begin_s: float
    seconds: float

    def at(self, share: float) -> float:
        """Return the time at which a share of the budget is used."""
        return self.begin_s + share * self.seconds

    def used_s(self) -> float:
        """Return the seconds used so far."""
        return time.monotonic() - self.begin_s


TEACHER_SHARE, BACKBONE_SHARE = 0.2, 0.72
CLIP_SHARES = {"train": 0.86, "val": 0.93}
SEQUENCE_SHARE = 0.98
"""Shares of a budget at which each phase ends; what is left writes the checkpoint."""


class StopRequest:
    """Whether someone asked the run to end now, in a checkpoint."""

    def __init__(self) -> None:
        self.requested = False


@contextmanager
def stop_on_signals(stop: StopRequest) -> Iterator[None]:
    """Let the first SIGINT or SIGTERM request a stop; a second one acts as if this were not here.

    Does nothing outside the main thread, where Python takes no handlers.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def request(number: int, frame: FrameType | None) -> None:
        del frame
        stop.requested = True
        restore()
        print(f"{signal.Signals(number).name}: ending in a checkpoint", file=sys.stderr, flush=True)

    for number in before:
        signal.signal(number, request)
    try:
        yield
    finally:
        restore()

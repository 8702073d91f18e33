"""How fast jobs end: what a caller is told to wait for."""

from __future__ import annotations

import math

_WEIGHT = 0.2
_FIRST_GUESS_S = 5.0
MAX_RETRY_AFTER_S = 600


class Pace:
    """Moving means over the latest jobs.

    Attributes:
        seconds_per_job: From a job's start to the end of its slot.
        seconds_per_window: Of judged jobs, divided by their windows; None before the first one.
    """

    def __init__(self) -> None:
        self.seconds_per_job = _FIRST_GUESS_S
        self.seconds_per_window: float | None = None
        self._has_ended = False

    def add(self, seconds: float) -> None:
        """Add a job that held its slot for `seconds`."""
        self.seconds_per_job = _mean(self.seconds_per_job if self._has_ended else None, seconds)
        self._has_ended = True

    def add_judged(self, seconds: float, num_windows: int) -> None:
        """Add a job whose windows were judged in `seconds`."""
        if num_windows:
            self.seconds_per_window = _mean(self.seconds_per_window, seconds / num_windows)

    def retry_after_s(self, num_waiting: int, num_slots: int) -> int:
        """Return the seconds until a queue of this length has moved through the slots: 1…600."""
        estimate = math.ceil(self.seconds_per_job * (num_waiting + 1) / num_slots)
        return max(1, min(MAX_RETRY_AFTER_S, estimate))


def _mean(mean: float | None, value: float) -> float:
    return value if mean is None else (1 - _WEIGHT) * mean + _WEIGHT * value

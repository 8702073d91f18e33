"""A day of bursts: clips a second over time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

DAY_S = 86_400
WINDOW_S = 600
_LEAD_S = 60
"""The least of a window before its burst: the event-by-event model settles there."""


@dataclass(frozen=True)
class Window:
    """Whole seconds of the day, from `start_s` up to, not including, `end_s`."""

    start_s: int
    end_s: int


@dataclass(frozen=True)
class Demand:
    """`base` clips a second, and `bursts` (their starts, s) of `burst_s` at `peak`; ramps of `ramp_s`."""

    base: float
    peak: float
    bursts: tuple[int, ...]
    burst_s: int
    ramp_s: int = 0
    day_s: int = DAY_S

    @property
    def rates(self) -> npt.NDArray[np.float64]:
        """Clips a second in the middle of each second [day_s]."""
        middle = np.arange(self.day_s) + 0.5
        share = np.zeros(self.day_s)
        for start in self.bursts:
            inside = np.minimum(middle - start, start + self.burst_s - middle)
            risen = (inside >= 0).astype(float) if not self.ramp_s else np.clip(inside / self.ramp_s, 0, 1)
            share = np.maximum(share, risen)
        return self.base + (self.peak - self.base) * share

    @property
    def windows(self) -> tuple[Window, ...]:
        """Ten minutes around each burst; of a longer one, those with its start."""
        lead_s = max(_LEAD_S, (WINDOW_S - self.burst_s) // 2)
        starts = [max(0, min(start - lead_s, self.day_s - WINDOW_S)) for start in self.bursts]
        return tuple(Window(start, min(start + WINDOW_S, self.day_s)) for start in starts)


def evenly_spread(count: int, burst_s: int, day_s: int = DAY_S) -> tuple[int, ...]:
    """Return the starts of `count` bursts, with the same time between any two and half of it at both ends."""
    return tuple(round((number + 0.5) * day_s / count - burst_s / 2) for number in range(count))

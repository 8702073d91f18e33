"""One baseline: a call from a video to a probability, and how it is to be measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

Predictor = Callable[[Path], float]
"""A call from a video file to the highest probability of FAKE among its faces; NaN without a face."""


@dataclass(frozen=True)
class Baseline:
    """One path from a video to a probability."""

    name: str
    predict: Predictor
    callers: int | None = None
    """Concurrent callers that it is measured with; None: as many as the reference."""
    slow: bool = False
    """Whether it is timed in fewer rounds, each beside the reference."""
    is_two_way: bool = False
    """Whether it knows FAKE and REAL only: what is no FAKE there may be uncertain for the reference."""
    cpu_seconds_per_clip: Callable[[], float] | None = None
    """What its own processes took, once it was called."""
    clips_per_call: int = 1

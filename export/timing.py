"""Which of several runners is the fastest, measured by turns: a busy machine then slows all of them alike."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from deepfake_triton.export.runners import Feed, Runner


WARM_UP, ROUNDS = 3, 15


def median_times_ms(
    runners: Sequence[Runner], feed: Feed, warm_up: int = WARM_UP, rounds: int = ROUNDS
) -> list[float]:
    """The median time of one call, for each of the runners."""
    times: list[list[float]] = [[] for _ in runners]
    for number in range(warm_up + rounds):
        for runner, own in zip(runners, times, strict=True):
            begin = time.perf_counter()
            runner.infer(feed)
            if number >= warm_up:
                own.append(1000 * (time.perf_counter() - begin))
    return [float(np.median(own)) for own in times]

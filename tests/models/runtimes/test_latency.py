from __future__ import annotations

import time

import numpy as np
import pytest

from deepfake_triton.models.runtimes.base import Feed
from deepfake_triton.models.runtimes.latency import median_times_ms, typical_inputs

pytestmark = pytest.mark.fast


class Sleeper:
    """A runner that takes a known time, and longer in its first calls."""

    runtime = "sleep"

    def __init__(self, milliseconds: float) -> None:
        self.milliseconds, self.calls = milliseconds, 0

    def infer(self, feed: Feed) -> Feed:
        self.calls += 1
        time.sleep(self.milliseconds / 1000 * (20 if self.calls == 1 else 1))
        return feed


def test_the_median_leaves_warm_up_calls_out() -> None:
    runners = Sleeper(1), Sleeper(5)
    times = median_times_ms(runners, {"x": np.zeros(1)}, warm_up=1, rounds=5)
    assert 1 <= times[0] < times[1] and times[1] >= 5
    assert [runner.calls for runner in runners] == [6, 6]


def test_typical_inputs_are_those_of_a_default_clip() -> None:
    inputs = typical_inputs(crop_side=96)
    assert inputs.detector["frames"].shape == (20, 360, 640, 3)
    assert inputs.extractor["faces"].shape == (1, 20, 96, 96, 3)
    assert inputs.classifier["features"].shape == (1, 20, 2048)

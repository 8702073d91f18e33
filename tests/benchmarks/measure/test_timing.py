from __future__ import annotations

import numpy as np
import pytest

from deepfake_triton.benchmarks.measure.timing import Ratio, Timing, interleave, ratio_of_medians

pytestmark = pytest.mark.fast


def drawn(median: float, seed: int, count: int = 40) -> list[float]:
    return list(median + np.random.default_rng(seed).normal(0, 0.1 * median, count))


def test_a_ratio_has_an_interval_around_it() -> None:
    ratio = ratio_of_medians(drawn(30, 1), drawn(10, 2))
    assert ratio.low < 3 < ratio.high and ratio.high - ratio.low < 0.6
    assert ratio.low <= ratio.value <= ratio.high and ratio.text[:3] in ("2.9", "3.0")


def test_an_interval_that_holds_one_is_no_difference() -> None:
    assert ratio_of_medians(drawn(10, 3), drawn(10, 4)).text.startswith("no difference, ")


def test_rounds_have_to_be_the_same() -> None:
    with pytest.raises(ValueError, match="got 40 and 39"):
        ratio_of_medians(drawn(1, 0), drawn(1, 0, count=39))


def test_every_call_follows_every_other() -> None:
    calls: list[str] = []
    timings = interleave({name: lambda name=name: calls.append(name) for name in "abc"}, rounds=3, warm_up=1)  # type: ignore[misc]
    assert calls == list("abcbcacababc")
    assert all(len(timing.values_ms) == 3 and len(timing.warm_up_ms) == 1 for timing in timings.values())


def test_what_is_written_is_read_back() -> None:
    timing = Timing.from_values("call", [1.00049, 2.0, 4.0], [9.0])
    assert (timing.median_ms, timing.values_ms[0], timing.warm_up_ms) == (2.0, 1.0, (9.0,))
    assert Timing.from_json(timing.to_json()) == timing
    ratio = ratio_of_medians(drawn(30, 1), drawn(10, 2))
    assert Ratio.from_json(ratio.to_json()) == ratio

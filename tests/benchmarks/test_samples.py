from __future__ import annotations

import numpy as np
import pytest

from deepfake_triton.benchmarks.samples import Samples, by_turns, ratio_of


def drawn(name: str, median: float, seed: int, count: int = 40) -> Samples:
    noise = np.random.default_rng(seed).normal(0, 0.1 * median, count)
    return Samples(name, tuple(median + noise))


def test_a_ratio_has_an_interval_around_it() -> None:
    ratio = ratio_of(drawn("slow", 30, 1), drawn("fast", 10, 2))
    assert ratio.low < 3 < ratio.high and ratio.high - ratio.low < 0.6
    assert ratio.low <= ratio.value <= ratio.high and ratio.text[:3] in ("2.9", "3.0")


def test_an_interval_that_holds_one_is_no_difference() -> None:
    assert ratio_of(drawn("one", 10, 3), drawn("other", 10, 4)).text.startswith("no difference [")


def test_turns_have_to_be_the_same() -> None:
    with pytest.raises(ValueError, match="40 turns, b has 39"):
        ratio_of(drawn("a", 1, 0), drawn("b", 1, 0, count=39))


def test_everybody_follows_everybody() -> None:
    calls: list[str] = []
    taken = by_turns({name: lambda name=name: calls.append(name) for name in "abc"}, rounds=3, warm_up=1)  # type: ignore[misc]
    assert calls == list("abcbcacababc")
    assert all(len(each.values_ms) == 3 and len(each.warm_up_ms) == 1 for each in taken.values())

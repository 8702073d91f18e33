"""Timings as they were taken, and what may be concluded from them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np

_ROUNDS = 2000


@dataclass(frozen=True)
class Samples:
    """Milliseconds of one thing, in the order taken; those of the `warm_up` count for nothing."""

    name: str
    values_ms: tuple[float, ...]
    warm_up_ms: tuple[float, ...] = ()

    @property
    def median_ms(self) -> float:
        """Half took longer."""
        return self.percentile_ms(50)

    def percentile_ms(self, percent: float) -> float:
        """So many took no longer."""
        return float(np.percentile(self.values_ms, percent))

    def as_dict(self) -> dict[str, Any]:
        """For the report, with every sample."""
        return {
            "name": self.name,
            "median_ms": round(self.median_ms, 3),
            "p95_ms": round(self.percentile_ms(95), 3),
            "values_ms": [round(value, 3) for value in self.values_ms],
            "warm_up_ms": [round(value, 3) for value in self.warm_up_ms],
        }


@dataclass(frozen=True)
class Ratio:
    """How many times as long one thing takes as another, with a 95 % interval."""

    value: float
    low: float
    high: float

    @property
    def text(self) -> str:
        """An interval that holds 1 tells no difference."""
        interval = f"[{self.low:.2f}, {self.high:.2f}]"
        if self.low <= 1 <= self.high:
            return f"no difference, {self.value:.2f} {interval}"
        return f"{self.value:.2f} {interval}"

    def as_dict(self) -> dict[str, Any]:
        """For the report."""
        return {
            "ratio": round(self.value, 4),
            "low": round(self.low, 4),
            "high": round(self.high, 4),
            "text": self.text,
        }


def ratio_of(values: Sequence[float], other_values: Sequence[float], seed: int = 0) -> Ratio:
    """The ratio of the medians; the interval by bootstrap over the turns, which both had alike."""
    ones, others = np.array(values), np.array(other_values)
    if len(ones) != len(others):
        raise ValueError(f"a ratio takes the same turns of both: got {len(ones)} and {len(others)}")
    picks = np.random.default_rng(seed).integers(0, len(ones), (_ROUNDS, len(ones)))
    ratios = np.median(ones[picks], axis=1) / np.median(others[picks], axis=1)
    low, high = np.percentile(ratios, [2.5, 97.5])
    return Ratio(float(np.median(ones) / np.median(others)), float(low), float(high))


def by_turns(calls: Mapping[str, Callable[[], Any]], rounds: int, warm_up: int) -> dict[str, Samples]:
    """Time calls one after another, again and again: a busy machine then slows all of them alike.

    The order is turned by one each round, so that none always follows the same other.
    """
    names = list(calls)
    taken: dict[str, list[float]] = {name: [] for name in names}
    for number in range(warm_up + rounds):
        shift = number % len(names)
        for name in names[shift:] + names[:shift]:
            began = perf_counter()
            calls[name]()
            taken[name].append(1000 * (perf_counter() - began))
    return {
        name: Samples(name, tuple(values[warm_up:]), tuple(values[:warm_up]))
        for name, values in taken.items()
    }


def percentiles(values_ms: Sequence[float]) -> dict[str, float]:
    """p50, p95 and p99, rounded; empty without values."""
    if not values_ms:
        return {}
    return {f"p{percent}_ms": round(float(np.percentile(values_ms, percent)), 2) for percent in (50, 95, 99)}

"""Repeated timings of calls, interleaved, and what may be concluded from them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np

from deepfake_triton.console.progress import track_progress
from deepfake_triton.json_object import JsonObject

_RESAMPLES = 2000


@dataclass(frozen=True)
class Timing:
    """Durations of one call in ms, in the order measured; `warm_up_ms` counts in no statistic."""

    name: str
    median_ms: float
    p95_ms: float
    values_ms: tuple[float, ...]
    warm_up_ms: tuple[float, ...] = ()

    @classmethod
    def from_values(cls, name: str, values_ms: Sequence[float], warm_up_ms: Sequence[float] = ()) -> Timing:
        """Compute median and 95th percentile, all rounded to 1 µs."""
        median_ms, p95_ms = (round(float(value), 3) for value in np.percentile(values_ms, [50, 95]))
        return cls(name, median_ms, p95_ms, round_values(values_ms, 3), round_values(warm_up_ms, 3))

    def to_json(self) -> JsonObject:
        """Return the JSON form, with every value."""
        return {
            "name": self.name,
            "median_ms": self.median_ms,
            "p95_ms": self.p95_ms,
            "values_ms": list(self.values_ms),
            "warm_up_ms": list(self.warm_up_ms),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Timing:
        """Read the JSON form."""
        return cls(
            data["name"],
            data["median_ms"],
            data["p95_ms"],
            tuple(data["values_ms"]),
            tuple(data["warm_up_ms"]),
        )


def round_values(values_ms: Sequence[float], digits: int) -> tuple[float, ...]:
    """Round durations in ms to `digits` decimals."""
    return tuple(round(value, digits) for value in values_ms)


@dataclass(frozen=True)
class Ratio:
    """Ratio of two medians, with its 95 % confidence interval."""

    value: float
    low: float
    high: float

    @property
    def text(self) -> str:
        """The ratio and its interval; one that holds 1 shows no difference."""
        interval = f"[{self.low:.2f}, {self.high:.2f}]"
        if self.low <= 1 <= self.high:
            return f"no difference, {self.value:.2f} {interval}"
        return f"{self.value:.2f} {interval}"

    def to_json(self) -> JsonObject:
        """Return the JSON form."""
        return {"ratio": self.value, "low": self.low, "high": self.high, "text": self.text}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Ratio:
        """Read the JSON form."""
        return cls(data["ratio"], data["low"], data["high"])


def ratio_of_medians(values: Sequence[float], other_values: Sequence[float], seed: int = 0) -> Ratio:
    """Return median(values) / median(other_values), its interval by a paired bootstrap over the rounds.

    Raises ValueError for unequal numbers of rounds.
    """
    first, second = np.array(values), np.array(other_values)
    if len(first) != len(second):
        raise ValueError(f"a ratio needs the same rounds of both: got {len(first)} and {len(second)}")
    picks = np.random.default_rng(seed).integers(0, len(first), (_RESAMPLES, len(first)))
    ratios = np.median(first[picks], axis=1) / np.median(second[picks], axis=1)
    found = (np.median(first) / np.median(second), *np.percentile(ratios, [2.5, 97.5]))
    return Ratio(*(round(float(value), 4) for value in found))


def interleave(calls: Mapping[str, Callable[[], Any]], *, rounds: int, warm_up: int) -> dict[str, Timing]:
    """Time calls one after another, round by round, so that a busy machine slows all of them alike.

    The order is rotated by one each round, so that no call always follows the same other.
    """
    names = list(calls)
    durations_ms: dict[str, list[float]] = {name: [] for name in names}
    for number in track_progress(range(warm_up + rounds), f"latency of {', '.join(names)}", "rounds"):
        shift = number % len(names)
        for name in names[shift:] + names[:shift]:
            began = perf_counter()
            calls[name]()
            durations_ms[name].append(1000 * (perf_counter() - began))
    return {
        name: Timing.from_values(name, values[warm_up:], values[:warm_up])
        for name, values in durations_ms.items()
    }


@dataclass(frozen=True)
class Percentiles:
    """Latency percentiles in ms."""

    p50_ms: float
    p95_ms: float
    p99_ms: float

    @classmethod
    def from_values(cls, values_ms: Sequence[float]) -> Percentiles | None:
        """Compute them, rounded to 10 µs; None without values."""
        if not values_ms:
            return None
        return cls(*(round(float(value), 2) for value in np.percentile(values_ms, [50, 95, 99])))

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Percentiles | None:
        """Read the keys `p50_ms`, `p95_ms` and `p99_ms`; None where they are missing."""
        return cls(data["p50_ms"], data["p95_ms"], data["p99_ms"]) if "p50_ms" in data else None

    def to_json(self) -> JsonObject:
        """Return the JSON form."""
        return {"p50_ms": self.p50_ms, "p95_ms": self.p95_ms, "p99_ms": self.p99_ms}

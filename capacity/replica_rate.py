"""How many clips a second one replica is given: under its measured peak, and within a latency objective."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from deepfake_triton.capacity.load_figures import LoadFigures, LoadPoint
from deepfake_triton.errors import InvalidOption


class Bound(Enum):
    """What keeps the rate of a replica under its peak."""

    LATENCY = "the latency objective"
    UTILIZATION = "the utilization target"


@dataclass(frozen=True)
class ReplicaRate:
    """The planned rate of one replica, the measured peak above it, and the point that tells its latency."""

    clips_per_second: float
    peak: LoadPoint
    point: LoadPoint
    bound: Bound

    @property
    def utilization(self) -> float:
        """The planned rate as a share of the peak."""
        return self.clips_per_second / self.peak.clips_per_second


def replica_rate(figures: LoadFigures, *, utilization: float, p99_ms: float | None) -> ReplicaRate:
    """Return the highest rate that keeps both: `utilization` (0…1) of the peak, and `p99_ms` if it is given.

    Where requests were also sent at steady rates, only those points say whether the objective is kept:
    callers who wait for their answer before they ask again keep a queue short that others would let grow.
    Raises InvalidOption where no measured load keeps the objective, InvalidBenchmark where requests failed at
    every load.
    """
    peak = figures.peak
    target = utilization * peak.clips_per_second
    if p99_ms is None:
        return ReplicaRate(target, peak, _point_at(figures.unrefused, target), Bound.UTILIZATION)
    measured = [point for point in figures.unrefused if point.is_steady_rate] or figures.unrefused
    keeping = [point for point in measured if point.p99_ms <= p99_ms]
    if not keeping:
        best = min(measured, key=lambda point: point.p99_ms)
        raise InvalidOption(
            f"got a p99 of {p99_ms:g} ms, expected {best.p99_ms:g} ms or more: the least that "
            f"{figures.source} has, at {best.words}; measure smaller loads, or a faster machine"
        )
    point = max(keeping, key=lambda point: point.clips_per_second)
    if point.clips_per_second <= target:
        return ReplicaRate(point.clips_per_second, peak, point, Bound.LATENCY)
    return ReplicaRate(target, peak, point, Bound.UTILIZATION)


def _point_at(points: Sequence[LoadPoint], rate: float) -> LoadPoint:
    """Return the quickest of the measured points at or above `rate`; others only had more callers waiting."""
    return min((point for point in points if point.clips_per_second >= rate), key=lambda point: point.p99_ms)

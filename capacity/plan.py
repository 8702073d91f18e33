"""Replicas, network, queues and cost for a rate of clips, from what was measured of one replica."""

from __future__ import annotations

import math
from dataclasses import dataclass

from deepfake_triton.capacity.load_figures import LoadFigures
from deepfake_triton.capacity.network import ClipShape
from deepfake_triton.capacity.replica_rate import ReplicaRate, replica_rate
from deepfake_triton.errors import InvalidOption

MILLION = 1_000_000
SECONDS_PER_HOUR = 3600
BYTES_PER_GIGABYTE = 10**9
TARGET_SHARE_OF_QUEUE = 4
"""An autoscaler's target is a quarter of the queue: Triton's gauge of pending requests ends at its bound."""
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Prices:
    """Prices in any one currency; None where unknown."""

    per_replica_hour: float | None = None
    per_gigabyte: float | None = None
    """Of 10⁹ bytes between callers and replicas."""


@dataclass(frozen=True)
class Requirements:
    """What a plan is asked for."""

    clips_per_second: float
    p99_ms: float | None = None
    utilization: float = 0.8
    """Highest share of a replica's peak that is planned with."""
    spare_replicas: int = 1
    max_queue: int = 16
    """Clips that may wait in one replica before it refuses."""


@dataclass(frozen=True)
class Plan:
    """The arithmetic of a plan, all derived from `rate`, `clip` and what was asked for."""

    figures: LoadFigures
    asked: Requirements
    rate: ReplicaRate
    clip: ClipShape
    prices: Prices

    @property
    def needed_replicas(self) -> int:
        """Replicas that take the rate."""
        return replicas_for(self.asked.clips_per_second, self.rate.clips_per_second)

    @property
    def replicas(self) -> int:
        """Replicas with the spare ones."""
        return self.needed_replicas + self.asked.spare_replicas

    @property
    def gpus(self) -> int:
        """GPUs of all replicas: one each where a GPU was measured."""
        return self.replicas if self.figures.environment.gpu else 0

    @property
    def cpu_cores(self) -> int:
        """CPU cores of all replicas, each with as many as the measured machine."""
        return self.replicas * self.figures.environment.cores

    @property
    def utilization(self) -> float:
        """Share of all replicas' peak that the rate takes."""
        return self.asked.clips_per_second / (self.replicas * self.rate.peak.clips_per_second)

    @property
    def network_bytes_per_second(self) -> float:
        """Bytes a second between callers and all replicas."""
        return self.asked.clips_per_second * self.clip.total_bytes

    @property
    def full_queue_wait_s(self) -> float:
        """Wait behind a full queue in front of one replica at its peak."""
        return self.asked.max_queue / self.rate.peak.clips_per_second

    @property
    def wait_budget_s(self) -> float | None:
        """What the latency objective leaves for waiting: less the median of a lone clip; None without one."""
        if self.asked.p99_ms is None:
            return None
        return max(0.0, self.asked.p99_ms - self.figures.lightest.p50_ms) / 1000

    @property
    def queue_within_objective(self) -> int | None:
        """Longest queue that a replica at its peak empties within that time; None without an objective."""
        if self.wait_budget_s is None:
            return None
        return math.floor(self.rate.peak.clips_per_second * self.wait_budget_s + _ROUNDING)

    @property
    def clips_absorbed(self) -> int:
        """Clips that all replicas' queues hold: what a burst may bring beyond the rate they answer."""
        return self.replicas * self.asked.max_queue

    @property
    def target_pending(self) -> int:
        """Pending requests in a replica at which an autoscaler should add another."""
        return max(1, self.asked.max_queue // TARGET_SHARE_OF_QUEUE)

    @property
    def replica_hours_per_million(self) -> float:
        """Replica-hours in which a million clips come at the rate."""
        return self.replicas * MILLION / self.asked.clips_per_second / SECONDS_PER_HOUR

    @property
    def replica_cost_per_million(self) -> float | None:
        """Price of those replica-hours; None without a price."""
        price = self.prices.per_replica_hour
        return None if price is None else price * self.replica_hours_per_million

    @property
    def network_cost_per_million(self) -> float | None:
        """Price of a million clips' bytes; None without a price."""
        price = self.prices.per_gigabyte
        return None if price is None else price * MILLION * self.clip.total_bytes / BYTES_PER_GIGABYTE

    @property
    def cost_per_million(self) -> float | None:
        """Price of a million clips, as far as prices are known; None without any."""
        costs = [self.replica_cost_per_million, self.network_cost_per_million]
        known = [cost for cost in costs if cost is not None]
        return sum(known) if known else None


def make_plan(figures: LoadFigures, asked: Requirements, *, clip: ClipShape, prices: Prices) -> Plan:
    """Return the plan. Raises InvalidOption where no measured load keeps the latency objective,
    InvalidBenchmark where requests failed at every load."""
    rate = replica_rate(figures, utilization=asked.utilization, p99_ms=asked.p99_ms)
    return Plan(figures, asked, rate, clip, prices)


def replicas_for(clips_per_second: float, per_replica: float) -> int:
    """Return the least number of replicas that take the rate; the last bit rounds no whole ratio up.

    Raises InvalidOption for more than a million.
    """
    ratio = clips_per_second / per_replica
    if ratio > MILLION:
        raise InvalidOption(
            f"got {clips_per_second:g} clips/s, expected at most a million replicas of {per_replica:g}"
        )
    return max(1, math.ceil(ratio - _ROUNDING))

"""What both models share: one replica, the replicas of a moment, and what came of a time."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from deepfake_triton.capacity.simulation.autoscaler import (
    AutoscalerSettings,
    AutoscalerState,
    Scrape,
    next_state,
)


@dataclass(frozen=True)
class ReplicaModel:
    """One replica: clips a second at most, clips in work at once, and clips that may wait."""

    clips_per_second: float
    slots: int
    max_queue: int

    @property
    def service_s(self) -> float:
        """Time that a clip is in work while all slots are taken."""
        return self.slots / self.clips_per_second


@dataclass(frozen=True)
class ClusterState:
    """The replicas of a moment: `ready` ones, the times (s) at which starting ones will be, and the queue.

    `queue` is of all replicas together; the event-by-event model begins with it, and then has its own.
    """

    autoscaler: AutoscalerState
    scrape: Scrape
    ready: int
    ready_at_s: tuple[int, ...] = ()
    queue: float = 0.0

    @property
    def replicas(self) -> int:
        """Replicas that are paid for."""
        return self.ready + len(self.ready_at_s)

    def after_starts(self, now_s: int) -> ClusterState:
        """Return the state with those ready whose time has come."""
        if not self.ready_at_s or self.ready_at_s[0] > now_s:
            return self
        later = tuple(time for time in self.ready_at_s if time > now_s)
        return replace(self, ready=self.replicas - len(later), ready_at_s=later)

    def after_sync(self, settings: AutoscalerSettings, now_s: int) -> ClusterState:
        """Return the state after one decision: added replicas start, and starting ones are removed first."""
        autoscaler = next_state(self.autoscaler, self.scrape, settings=settings, now_s=now_s)
        change = autoscaler.replicas - self.replicas
        if change >= 0:
            starting = (*self.ready_at_s, *[now_s + settings.start_s] * change)
            return replace(self, autoscaler=autoscaler, ready_at_s=starting)
        kept = self.ready_at_s[: max(0, len(self.ready_at_s) + change)]
        return replace(self, autoscaler=autoscaler, ready=autoscaler.replicas - len(kept), ready_at_s=kept)


def settled(settings: AutoscalerSettings) -> ClusterState:
    """Return the least replicas, ready and idle, as after a quiet night."""
    count = settings.min_replicas
    return ClusterState(AutoscalerState(count, ((0, count),)), Scrape(0.0, count), count)


@dataclass(frozen=True)
class Outcome:
    """What came of some time: clips arrived and refused, the longest wait in a queue, and replicas."""

    arrived: float
    refused: float
    longest_wait_s: float
    replica_hours: float
    most_replicas: int

    @property
    def refused_share(self) -> float:
        """Share of clips that were refused, 0…1."""
        return self.refused / self.arrived if self.arrived else 0.0

    @classmethod
    def of_all(cls, parts: Iterable[Outcome]) -> Outcome:
        """Return what came of several times together. Raises ValueError for none."""
        found = tuple(parts)
        return cls(
            arrived=sum(part.arrived for part in found),
            refused=sum(part.refused for part in found),
            longest_wait_s=max(part.longest_wait_s for part in found),
            replica_hours=sum(part.replica_hours for part in found),
            most_replicas=max(part.most_replicas for part in found),
        )

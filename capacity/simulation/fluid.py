"""The fluid model: clips flow through all replicas' queues as one, in steps of a second."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from deepfake_triton.capacity.simulation.autoscaler import AutoscalerSettings, Scrape
from deepfake_triton.capacity.simulation.cluster import ClusterState, Outcome, ReplicaModel, settled
from deepfake_triton.capacity.simulation.demand import Window


@dataclass(frozen=True)
class FluidRun:
    """Each second of a run [seconds]: clips arrived and refused, the wait behind the queue, replicas."""

    arrived: npt.NDArray[np.float64]
    refused: npt.NDArray[np.float64]
    wait_s: npt.NDArray[np.float64]
    replicas: npt.NDArray[np.int64]
    snapshots: Mapping[int, ClusterState]
    """The state before the seconds that were asked for."""

    def outcome(self, window: Window | None = None) -> Outcome:
        """Return what came of a window, or of the whole run."""
        part = slice(None) if window is None else slice(window.start_s, window.end_s)
        return Outcome(
            arrived=float(self.arrived[part].sum()),
            refused=float(self.refused[part].sum()),
            longest_wait_s=float(self.wait_s[part].max()),
            replica_hours=float(self.replicas[part].sum()) / 3600,
            most_replicas=int(self.replicas[part].max()),
        )


def run_fluid(
    rates: npt.NDArray[np.float64],
    replica: ReplicaModel,
    settings: AutoscalerSettings,
    *,
    snapshots_at: Collection[int] = (),
) -> FluidRun:
    """Run the rates (clips a second, one for each second) from the least replicas, idle.

    In each second: replicas become ready, the metric is scraped, the autoscaler decides, and clips flow. A
    queue over its bound is refused; the queue of a removed replica is shared by those that stay.
    """
    state = settled(settings)
    snapshots: dict[int, ClusterState] = {}
    refused, waits, replicas = [0.0] * len(rates), [0.0] * len(rates), [0] * len(rates)
    for second, arriving in enumerate(rates.tolist()):
        if second in snapshots_at:
            snapshots[second] = state
        state = controlled(state, settings, second, pending=state.queue)
        capacity = state.ready * replica.clips_per_second
        queue = max(0.0, state.queue + arriving - capacity)
        bound = float(state.ready * replica.max_queue)
        if queue > bound:
            refused[second] = queue - bound
            queue = bound
        if queue != state.queue:
            state = replace(state, queue=queue)
        waits[second] = queue / capacity if capacity else 0.0
        replicas[second] = state.replicas
    return FluidRun(rates, np.array(refused), np.array(waits), np.array(replicas, np.int64), snapshots)


def controlled(
    state: ClusterState, settings: AutoscalerSettings, now_s: int, *, pending: float
) -> ClusterState:
    """Return the state after what happens at a whole second: starts, a scrape, a decision.

    `pending` requests wait in all ready replicas together.
    """
    state = state.after_starts(now_s)
    if now_s % settings.scrape_interval_s == 0:
        average = pending / state.ready if state.ready else 0.0
        state = replace(state, scrape=Scrape(average, state.ready))
    if now_s % settings.sync_period_s == 0:
        state = state.after_sync(settings, now_s)
    return state

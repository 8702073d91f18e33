"""The event-by-event model: each clip, each replica's own queue, and chance, by SimPy."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Generator
from typing import TYPE_CHECKING, cast

import numpy as np
import numpy.typing as npt

from deepfake_triton.capacity.simulation.autoscaler import AutoscalerSettings
from deepfake_triton.capacity.simulation.cluster import ClusterState, Outcome, ReplicaModel
from deepfake_triton.capacity.simulation.demand import Window
from deepfake_triton.capacity.simulation.fluid import controlled
from deepfake_triton.errors import MissingDependency

if TYPE_CHECKING:
    from simpy import Environment, Event, Timeout


def run_events(
    rates: npt.NDArray[np.float64],
    replica: ReplicaModel,
    settings: AutoscalerSettings,
    *,
    window: Window,
    state: ClusterState,
    seed: int,
) -> Outcome:
    """Simulate a window of the day, whose `rates` are clips a second, from the state before it.

    Clips arrive at random (Poisson), go to the less loaded of two replicas drawn at random, as Envoy's least
    request does, and take the same time each. A replica that is removed answers what waits in it.
    Raises MissingDependency without SimPy.
    """
    try:
        from simpy import Environment
    except ImportError as error:
        raise MissingDependency(
            "the event-by-event simulation needs simpy: pip install 'deepfake-triton[capacity]'"
        ) from error
    cluster = _Cluster(Environment(window.start_s), replica, settings, state=state, seed=seed)
    arrivals = _arrival_times(rates[window.start_s : window.end_s], window.start_s, seed)
    return cluster.run(arrivals, window)


def _arrival_times(rates: npt.NDArray[np.float64], start_s: int, seed: int) -> npt.NDArray[np.float64]:
    """Return the times (s) at which clips arrive: a Poisson process of the rate of each second."""
    chance = np.random.default_rng(seed)
    counts = chance.poisson(rates)
    whole = np.repeat(np.arange(start_s, start_s + len(rates)), counts)
    return np.sort(whole + chance.random(len(whole)))


class _Replica:
    """One replica: the times (s) since when clips wait, and clips in work."""

    __slots__ = ("busy", "waiting")

    def __init__(self) -> None:
        self.waiting: deque[float] = deque()
        self.busy = 0

    @property
    def load(self) -> int:
        return self.busy + len(self.waiting)


class _Cluster:
    """All replicas, and the counts of one run."""

    def __init__(
        self,
        environment: Environment,
        replica: ReplicaModel,
        settings: AutoscalerSettings,
        *,
        state: ClusterState,
        seed: int,
    ) -> None:
        self._environment, self._model, self._settings, self._state = environment, replica, settings, state
        self._draw = random.Random(seed).random
        self._ready = [_Replica() for _ in range(state.ready)]
        for number in range(round(state.queue)):
            self._ready[number % state.ready].waiting.append(environment.now)
        self._refused = 0
        self._longest_wait_s = 0.0
        self._replica_seconds = 0
        self._most_replicas = state.replicas

    def run(self, arrivals: npt.NDArray[np.float64], window: Window) -> Outcome:
        environment = self._environment
        for replica in self._ready:
            self._work(replica)
        environment.process(self._control())
        environment.process(self._arrive(arrivals.tolist()))
        environment.run(until=window.end_s)
        waiting = [replica.waiting[0] for replica in self._ready if replica.waiting]
        still = environment.now - min(waiting) if waiting else 0.0
        return Outcome(
            arrived=float(len(arrivals)),
            refused=float(self._refused),
            longest_wait_s=max(self._longest_wait_s, still),
            replica_hours=self._replica_seconds / 3600,
            most_replicas=self._most_replicas,
        )

    def _control(self) -> Generator[Timeout, None, None]:
        while True:
            pending = sum(len(replica.waiting) for replica in self._ready)
            self._state = controlled(
                self._state, self._settings, round(self._environment.now), pending=float(pending)
            )
            missing = self._state.ready - len(self._ready)
            self._ready += [_Replica() for _ in range(missing)]
            if missing < 0:  # the newest go, and answer what waits in them
                del self._ready[missing:]
            self._replica_seconds += self._state.replicas
            self._most_replicas = max(self._most_replicas, self._state.replicas)
            yield self._environment.timeout(1)

    def _arrive(self, times: list[float]) -> Generator[Timeout, None, None]:
        environment, model = self._environment, self._model
        for time in times:
            yield environment.timeout(max(0.0, time - environment.now))
            if not self._ready:
                self._refused += 1
                continue
            replica = self._less_loaded()
            if replica.load < model.slots + model.max_queue:
                replica.waiting.append(environment.now)
                self._work(replica)
            else:
                self._refused += 1

    def _less_loaded(self) -> _Replica:
        ready, count = self._ready, len(self._ready)
        if count == 1:
            return ready[0]
        first = int(self._draw() * count)
        second = (first + 1 + int(self._draw() * (count - 1))) % count
        return min(ready[first], ready[second], key=lambda replica: replica.load)

    def _work(self, replica: _Replica) -> None:
        """Take clips into work while slots are free."""
        now = self._environment.now
        while replica.waiting and replica.busy < self._model.slots:
            self._longest_wait_s = max(self._longest_wait_s, now - replica.waiting.popleft())
            replica.busy += 1
            done = self._environment.timeout(self._model.service_s, value=replica)
            done.callbacks.append(self._finish)

    def _finish(self, event: Event) -> None:
        replica = cast(_Replica, event.value)
        replica.busy -= 1
        self._work(replica)

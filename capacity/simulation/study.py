"""Whether an autoscaler's settings hold through a day of bursts, by both models."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from deepfake_triton.capacity.simulation.autoscaler import AutoscalerSettings
from deepfake_triton.capacity.simulation.cluster import Outcome, ReplicaModel
from deepfake_triton.capacity.simulation.demand import Demand
from deepfake_triton.capacity.simulation.events import run_events
from deepfake_triton.capacity.simulation.fluid import FluidRun, run_fluid
from deepfake_triton.console.progress import stage, track_progress

FLUID, EVENTS = "fluid", "event by event"
MAX_EVENTS_PER_SECOND = 1000.0
"""Highest peak, in clips a second, that is simulated event by event too."""


@dataclass(frozen=True)
class Limits:
    """What the settings must keep: the share of clips refused (0…1), and the wait in a queue if any."""

    refused_share: float = 0.0
    wait_s: float | None = None

    def broken_by(self, outcome: Outcome) -> tuple[str, ...]:
        """Return what an outcome does not keep, in words."""
        broken = []
        if outcome.refused_share > self.refused_share:
            broken.append(
                f"{_percent(outcome.refused_share)} of the day's clips refused, at most "
                f"{_percent(self.refused_share)} wanted"
            )
        if self.wait_s is not None and outcome.longest_wait_s > self.wait_s:
            broken.append(f"a wait of {outcome.longest_wait_s:.2f} s, at most {self.wait_s:g} s wanted")
        return tuple(broken)


@dataclass(frozen=True)
class Study:
    """What came of the day by the fluid model, and of the minutes around bursts by both."""

    day: Outcome
    fluid_bursts: Outcome
    event_bursts: Outcome | None
    """None where the peak is too high for it."""
    broken: tuple[str, ...]
    """What the settings do not keep; empty where they hold."""
    holding_min_replicas: int | None
    """Least `min_replicas` that would hold, where the settings do not; None where none would, too."""

    @property
    def holds(self) -> bool:
        """Whether the settings keep all limits in both models."""
        return not self.broken


def study(
    demand: Demand,
    replica: ReplicaModel,
    settings: AutoscalerSettings,
    *,
    limits: Limits,
    seed: int = 0,
) -> Study:
    """Run both models, and where they break a limit look for the least replicas that would not.

    Raises MissingDependency without SimPy where the peak is low enough for it.
    """
    models = _Models(demand, demand.rates, replica, limits, seed)
    fluid = models.fluid(settings)
    day, of_fluid = fluid.outcome(), models.around_bursts(fluid)
    broken = [f"{FLUID}: {words}" for words in limits.broken_by(day)]
    of_events = None
    if models.has_events:
        runs = models.events(settings, fluid)
        bursts = track_progress(runs, "event by event", "bursts", total=len(demand.bursts))
        of_events = Outcome.of_all(bursts)
        judged = _day_with(of_events, day, of_fluid)
        broken += [f"{EVENTS}: {words}" for words in limits.broken_by(judged)]
    return Study(
        day=day,
        fluid_bursts=of_fluid,
        event_bursts=of_events,
        broken=tuple(broken),
        holding_min_replicas=_holding_min_replicas(models, settings) if broken else None,
    )


@dataclass(frozen=True)
class _Models:
    """Both models of one day, for any settings."""

    demand: Demand
    rates: npt.NDArray[np.float64]
    replica: ReplicaModel
    limits: Limits
    seed: int

    @property
    def has_events(self) -> bool:
        """Whether the day is simulated event by event too."""
        return self.demand.peak <= MAX_EVENTS_PER_SECOND

    def fluid(self, settings: AutoscalerSettings) -> FluidRun:
        starts = {window.start_s for window in self.demand.windows}
        return run_fluid(self.rates, self.replica, settings, snapshots_at=starts)

    def events(self, settings: AutoscalerSettings, fluid: FluidRun) -> Iterator[Outcome]:
        """Yield what comes of each burst, from the state in which the fluid model meets it."""
        for number, window in enumerate(self.demand.windows):
            yield run_events(
                self.rates,
                self.replica,
                settings,
                window=window,
                state=fluid.snapshots[window.start_s],
                seed=self.seed + number,
            )

    def around_bursts(self, fluid: FluidRun) -> Outcome:
        return Outcome.of_all(map(fluid.outcome, self.demand.windows))

    def hold(self, settings: AutoscalerSettings) -> bool:
        """Whether the settings keep the limits; ends at the first burst in which they do not."""
        fluid = self.fluid(settings)
        day = fluid.outcome()
        if self.limits.broken_by(day):
            return False
        found: list[Outcome] = []
        for outcome in self.events(settings, fluid) if self.has_events else ():
            found.append(outcome)
            if self.limits.broken_by(_day_with(Outcome.of_all(found), day, self.around_bursts(fluid))):
                return False
        return True


def _day_with(of_events: Outcome, day: Outcome, of_fluid: Outcome) -> Outcome:
    """Return the day with the bursts as they were event by event: both models are judged over the day."""
    refused = day.refused - of_fluid.refused + of_events.refused
    return replace(of_events, arrived=day.arrived, refused=max(0.0, refused))


def _holding_min_replicas(models: _Models, settings: AutoscalerSettings) -> int | None:
    """Return the least `min_replicas`, up to the most replicas, that keeps the limits in both models."""
    low, high = settings.min_replicas, settings.max_replicas
    if not models.hold(replace(settings, min_replicas=high)):
        return None
    with stage("looking for the least replicas that hold"):
        while low < high:
            middle = (low + high) // 2
            if models.hold(replace(settings, min_replicas=middle)):
                high = middle
            else:
                low = middle + 1
    return high


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"

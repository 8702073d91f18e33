"""The HorizontalPodAutoscaler's arithmetic on a metric of pods, as Kubernetes documents and computes it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

TOLERANCE = 0.1
"""Relative distance from the target within which Kubernetes changes nothing, by default."""


@dataclass(frozen=True)
class AutoscalerSettings:
    """What a HorizontalPodAutoscaler is configured with; times in whole seconds.

    Within `scale_up_period_s` it adds at most `scale_up_pods` or `scale_up_percent`, whichever is more. It
    scales down to the highest recommendation of the last `stabilization_down_s`.
    """

    min_replicas: int
    max_replicas: int
    target_pending: float
    """Pending requests in a replica, on average over replicas."""
    tolerance: float = TOLERANCE
    sync_period_s: int = 15
    scrape_interval_s: int = 15
    start_s: int = 60
    """From the creation of a replica until it answers."""
    scale_up_pods: int = 4
    scale_up_percent: float = 100.0
    scale_up_period_s: int = 15
    stabilization_down_s: int = 300


@dataclass(frozen=True)
class Scrape:
    """Pending requests of the `replicas` that were ready, on average, when the metric was last scraped."""

    average_pending: float
    replicas: int


@dataclass(frozen=True)
class AutoscalerState:
    """Replicas wanted now, recommendations (s, replicas) and additions (s, replicas) that still count."""

    replicas: int
    recommendations: tuple[tuple[int, int], ...] = ()
    additions: tuple[tuple[int, int], ...] = ()


def desired_replicas(replicas: int, scrape: Scrape, *, target: float, tolerance: float = TOLERANCE) -> int:
    """Return ceil(replicas × metric / target), or `replicas` where the metric is within the tolerance.

    Replicas without a metric, which are starting, count as idle where it would scale up, and as at the target
    where it would scale down; where that turns the direction, nothing changes.
    """
    measured = min(scrape.replicas, replicas)
    if not measured:
        return replicas
    ratio = scrape.average_pending / target
    starting = replicas - measured
    if not starting:
        return replicas if _is_near(ratio, tolerance) else math.ceil(ratio * replicas)
    assumed = 0 if ratio > 1 else starting
    with_starting = (ratio * measured + assumed) / replicas
    if _is_near(with_starting, tolerance) or (ratio > 1) != (with_starting > 1):
        return replicas
    return math.ceil(with_starting * replicas)


def next_state(
    state: AutoscalerState, scrape: Scrape, *, settings: AutoscalerSettings, now_s: int
) -> AutoscalerState:
    """Return the state after one sync at `now_s`: recommended, stabilized, and limited."""
    wanted = desired_replicas(
        state.replicas, scrape, target=settings.target_pending, tolerance=settings.tolerance
    )
    oldest = now_s - settings.stabilization_down_s
    recommendations = (*(item for item in state.recommendations if item[0] > oldest), (now_s, wanted))
    highest = max(count for _, count in recommendations)
    stabilized = wanted if wanted > state.replicas else min(state.replicas, highest)

    oldest = now_s - settings.scale_up_period_s
    additions = tuple(item for item in state.additions if item[0] > oldest)
    most = max(
        state.replicas, _scale_up_limit(state.replicas - sum(count for _, count in additions), settings)
    )
    replicas = min(max(min(stabilized, most), settings.min_replicas), settings.max_replicas)
    if replicas > state.replicas:
        additions = (*additions, (now_s, replicas - state.replicas))
    return replace(state, replicas=replicas, recommendations=recommendations, additions=additions)


def _scale_up_limit(at_period_start: int, settings: AutoscalerSettings) -> int:
    by_percent = math.ceil(at_period_start * (1 + settings.scale_up_percent / 100))
    return max(at_period_start + settings.scale_up_pods, by_percent)


def _is_near(ratio: float, tolerance: float) -> bool:
    return 1 - tolerance <= ratio <= 1 + tolerance

"""Size of the first queue: large enough for utilization, small enough for the latency budget.

Triton 2.51 cannot bound the requests that are inside an ensemble. So the queue of its first step is tight,
those of the later steps accept whatever the first one let in, and where the rate limiter serializes the steps
(`serve` sets it) later ones go first: else the detector, which is quick, would go on to accept what the
extractor cannot follow.
"""

from __future__ import annotations

import numpy as np

from deepfake_triton.console.progress import stage
from deepfake_triton.export.options import ServingLimits
from deepfake_triton.models.runtimes.base import Runner
from deepfake_triton.models.runtimes.latency import median_times_ms, typical_inputs
from deepfake_triton.models.stages import Stages
from deepfake_triton.repository.report_sections import QueueReport

LATENCY_BUDGET_S = 6.0
"""The time in which the last clip in the queue should be answered."""
CLIPS_IN_FLIGHT = 9
"""Clips behind the queue, counted under load: three in the detector, three batched for it, three in the
extractor and classifier."""
MIN_QUEUE, MAX_QUEUE = 16, 64
GPU_QUEUE = 128
"""A GPU answers as many clips within the budget many times over; each takes 14 MB of memory."""
_WARM_UP, _ROUNDS = 1, 2


def size_queue(
    limits: ServingLimits, runners: Stages[Runner] | None, crop_side: int, *, detection_interval: int = 1
) -> QueueReport:
    """Return the queue of the first step: as limited, else that of a GPU, or by the measured time of a clip;
    the largest where the runners of the served networks are not at hand (None)."""
    if limits.device == "gpu":
        return QueueReport(limits.max_queue or GPU_QUEUE)
    if runners is None:
        return QueueReport(limits.max_queue or MAX_QUEUE)
    with stage("timing a clip"):
        clip_ms = measure_clip_ms(runners, crop_side, detection_interval)
    return QueueReport(limits.max_queue or max_queue_for(clip_ms), round(clip_ms, 1))


def max_queue_for(clip_ms: float) -> int:
    """Return how many clips may wait for the first step where one clip takes `clip_ms` from end to end."""
    within_budget = round(1000 * LATENCY_BUDGET_S / max(clip_ms, 1e-3))
    return int(np.clip(within_budget - CLIPS_IN_FLIGHT, MIN_QUEUE, MAX_QUEUE))


def measure_clip_ms(runners: Stages[Runner], crop_side: int, detection_interval: int = 1) -> float:
    """Return the time that 20 frames of 640×360 with one face take in the three networks."""
    return sum(
        median_times_ms([runner], feed, warm_up=_WARM_UP, rounds=_ROUNDS)[0]
        for runner, feed in zip(runners, typical_inputs(crop_side, detection_interval), strict=True)
    )

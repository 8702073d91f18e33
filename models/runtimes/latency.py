"""Latency of runners, measured interleaved so that a busy machine slows all of them equally."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from deepfake_triton.contracts import (
    DEFAULT_FRAMES,
    FEATURE_SIZE,
    FEATURES,
    FRAMES,
    TYPICAL_FRAME_HW,
    faces_spec,
)
from deepfake_triton.models.runtimes.base import Feed, Runner
from deepfake_triton.models.stages import Stages
from deepfake_triton.preprocessing.detected_frames import detected_frames

WARM_UP, ROUNDS = 3, 15


def median_times_ms(
    runners: Sequence[Runner], feed: Feed, *, warm_up: int = WARM_UP, rounds: int = ROUNDS
) -> list[float]:
    """Return the median time of one call in ms, for each of the runners."""
    times: list[list[float]] = [[] for _ in runners]
    for number in range(warm_up + rounds):
        for runner, own in zip(runners, times, strict=True):
            begin = time.perf_counter()
            runner.infer(feed)
            if number >= warm_up:
                own.append(1000 * (time.perf_counter() - begin))
    return [float(np.median(own)) for own in times]


def typical_inputs(crop_side: int, detection_interval: int = 1) -> Stages[Feed]:
    """Return inputs of zeros for each network: 20 frames of 640×360 that show one face, every
    `detection_interval`th for the detector."""
    detected = len(detected_frames(DEFAULT_FRAMES, detection_interval))
    crops = np.zeros((1, DEFAULT_FRAMES, crop_side, crop_side, 3), np.uint8)
    return Stages(
        detector={FRAMES.name: np.zeros((detected, *TYPICAL_FRAME_HW, 3), np.uint8)},
        extractor={faces_spec(crop_side).name: crops},
        classifier={FEATURES.name: np.zeros((1, DEFAULT_FRAMES, FEATURE_SIZE), np.float32)},
    )

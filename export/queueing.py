"""How many clips may wait: enough to keep the machine at work, few enough to be answered in time.

Triton 2.51 cannot bound the requests that are inside an ensemble. So the queue of its first step is tight,
those of the later steps take whatever the first one let in, and where steps compute in turn (`serve` has
them, with its rate limiter) later ones go first: else the detector, which is quick, would go on to accept
what the extractor cannot follow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from deepfake_triton.contracts import DEFAULT_FRAMES, FEATURE_SIZE, FEATURES, FRAMES, faces_spec
from deepfake_triton.export.timing import median_times_ms

if TYPE_CHECKING:
    from deepfake_triton.export.runners import Runner

LONGEST_WAIT_S = 6.0
"""What the last clip in the queue should wait for its answer."""
CLIPS_BEHIND_THE_QUEUE = 9
"""Counted under load: three being detected, three more put together for that, three being judged."""
FEWEST_WAITING, MOST_WAITING = 16, 64
_FRAME_HW = (360, 640)
_WARM_UP, _ROUNDS = 1, 2


def queue_bound(clip_ms: float) -> int:
    """How many clips may wait for the first step where one clip takes `clip_ms` from end to end."""
    in_flight = round(1000 * LONGEST_WAIT_S / max(clip_ms, 1e-3))
    return int(np.clip(in_flight - CLIPS_BEHIND_THE_QUEUE, FEWEST_WAITING, MOST_WAITING))


def clip_time_ms(detector: Runner, extractor: Runner, classifier: Runner, crop_side: int) -> float:
    """What 20 frames of 640×360 with one face cost the three graphs."""
    feeds = (
        (detector, {FRAMES.name: np.zeros((DEFAULT_FRAMES, *_FRAME_HW, 3), np.uint8)}),
        (
            extractor,
            {faces_spec(crop_side).name: np.zeros((1, DEFAULT_FRAMES, crop_side, crop_side, 3), np.uint8)},
        ),
        (classifier, {FEATURES.name: np.zeros((1, DEFAULT_FRAMES, FEATURE_SIZE), np.float32)}),
    )
    return sum(median_times_ms([runner], feed, _WARM_UP, _ROUNDS)[0] for runner, feed in feeds)

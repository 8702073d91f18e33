"""Which frames of a clip the detector gets: every Nth, evenly spread, the first and the last among them.

The graph of `frame_sampler` chooses the same ones (`models.frame_sampler`): integers only.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

FrameIndices = npt.NDArray[np.intp]


def detected_frames(num_frames: int, interval: int) -> FrameIndices:
    """Return the indices of the frames to detect among `num_frames` (1 or more), rising: the first, the last,
    and as many between as leave no two neighbors more than `interval` frames apart."""
    last = num_frames - 1
    steps = -(-last // interval)
    indices: FrameIndices = (2 * np.arange(steps + 1) * last + steps) // max(2 * steps, 1)
    return indices

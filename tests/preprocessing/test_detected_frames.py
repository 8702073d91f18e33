from __future__ import annotations

import numpy as np
import pytest

from deepfake_triton.preprocessing.detected_frames import detected_frames

pytestmark = pytest.mark.fast


@pytest.mark.parametrize("interval", range(1, 17))
def test_first_and_last_are_detected_and_no_gap_is_longer_than_the_interval(interval: int) -> None:
    for num_frames in range(1, 65):
        indices = detected_frames(num_frames, interval)
        assert indices[0] == 0 and indices[-1] == num_frames - 1
        assert len(indices) == -(-(num_frames - 1) // interval) + 1, "no more than it takes"
        gaps = np.diff(indices)
        assert (
            (gaps >= 1).all() and gaps.max(initial=0) <= interval and (gaps >= gaps.max(initial=0) - 1).all()
        )


def test_frames_are_evenly_spread() -> None:
    assert detected_frames(20, 4).tolist() == [0, 4, 8, 11, 15, 19]
    assert detected_frames(20, 1).tolist() == list(range(20))
    assert detected_frames(1, 4).tolist() == [0] and detected_frames(2, 4).tolist() == [0, 1]

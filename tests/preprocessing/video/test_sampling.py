from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepfake_triton.errors import InvalidFrames
from deepfake_triton.preprocessing.video.sampling import FrameSelection, uniform_indices

pytestmark = pytest.mark.fast


@given(st.integers(0, 100_000), st.integers(1, 64))
def test_uniform_indices_are_different_frames_of_the_video(total: int, num_frames: int) -> None:
    indices = uniform_indices(total, num_frames)
    assert len(indices) == min(total, num_frames)
    assert indices == sorted(set(indices))
    assert all(0 <= index < total for index in indices)


def test_uniform_indices_are_the_middles_of_equal_parts() -> None:
    assert uniform_indices(100, 4) == [12, 37, 62, 87]
    assert uniform_indices(3, 20) == [0, 1, 2]


@pytest.mark.parametrize("number", [0, 65, -1])
def test_a_clip_has_1_to_64_frames(number: int) -> None:
    with pytest.raises(InvalidFrames, match="1…64"):
        FrameSelection(number)

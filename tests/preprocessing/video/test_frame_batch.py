"""The contract of decoded frames, whoever makes them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepfake_triton.errors import InvalidFrames
from deepfake_triton.preprocessing.video.frame_batch import FrameBatch

pytestmark = pytest.mark.fast


def batch(times: Any, end_seconds: float = 9.0) -> FrameBatch:
    return FrameBatch(np.zeros((len(times), 4, 4, 3), np.uint8), times, end_seconds)


@pytest.mark.parametrize(
    ("times", "end_seconds", "says"),
    [
        ([False, True], 9.0, "pts_seconds: got bool, expected real numbers"),
        ([0j, 1j], 9.0, "pts_seconds: got complex128, expected real numbers"),
        (["0", "1"], 9.0, "pts_seconds: got <U1, expected real numbers"),
        (np.array([0.0, math.nan], np.float32), 9.0, "pts_seconds: got nan, expected finite seconds"),
        (np.array([0.5, 0.25], np.float32), 9.0, "got 0.25 behind 0.5"),
        ([0.0, math.nan, 1.0], 9.0, "pts_seconds: got nan, expected finite seconds"),
        ([0.0, math.inf], 9.0, "pts_seconds: got inf, expected finite seconds"),
        ([0.0, 0.5, 0.5], 9.0, r"got 0.5 behind 0.5 \(frame 2\), expected times that rise strictly"),
        ([0.0, 0.5, 0.25], 9.0, r"got 0.25 behind 0.5 \(frame 2\), expected times that rise strictly"),
        ([0.0, 0.5], 0.4, "end_seconds: got 0.4, expected a finite time at or after the last frame's 0.5"),
        ([0.0, 0.5], math.nan, "end_seconds: got nan, expected a finite time"),
        ([0.0, 0.5], math.inf, "end_seconds: got inf, expected a finite time"),
    ],
)
def test_times_that_are_none_are_refused(times: Any, end_seconds: float, says: str) -> None:
    with pytest.raises(InvalidFrames, match=says):
        batch(times, end_seconds)


@given(st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=64, unique=True))
def test_any_finite_times_that_rise_are_taken(times: list[float]) -> None:
    assert len(batch(sorted(times), max(times))) == len(times)


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", ">f8", "u1", "i8"])
def test_real_numbers_of_any_kind_become_float64(dtype: str) -> None:
    for times in (np.array([0, 1], dtype), np.array([0, 1], dtype).tolist()):
        taken = batch(times).pts_seconds
        assert taken.dtype == np.dtype("float64") and taken.tolist() == [0.0, 1.0]


def test_times_of_other_lengths_a_frame_are_refused() -> None:
    with pytest.raises(InvalidFrames, match="pts_seconds: expected one number a frame"):
        batch([0.0, [1.0, 2.0]])


def test_float64_is_not_copied() -> None:
    times = np.arange(3.0)
    assert batch(times).pts_seconds is times

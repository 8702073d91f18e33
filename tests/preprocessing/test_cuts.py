"""Cuts between drawn scenes are found, and nothing else is taken for one."""

from __future__ import annotations

import numpy as np
import pytest
from drawn_people import LEFT, A, Moment, film

from deepfake_triton.preprocessing.cuts import describe_clip, find_cuts, shot_indices

pytestmark = pytest.mark.fast


def test_shots_begin_at_cuts_and_not_at_a_flash() -> None:
    frames, boxes = film([(0, {A: LEFT})] * 6 + [(1, {A: LEFT})] * 6)
    frames[3] = np.clip(frames[3].astype(int) + 90, 0, 255)
    assert shot_indices(describe_clip(frames, boxes)).tolist() == [0] * 6 + [1] * 6


def test_cuts_are_found_among_some_of_the_frames() -> None:
    moments: list[Moment] = [(0, {A: LEFT})] * 6 + [(1, {A: LEFT})] * 6 + [(0, {A: LEFT})] * 6
    appearance = describe_clip(*film(moments))
    chosen = np.array([0, 2, 4, 7, 9, 11, 13, 15, 17])
    assert np.flatnonzero(find_cuts(appearance, chosen)).tolist() == [3, 6]
    assert not find_cuts(appearance, np.array([0, 2, 4, 13, 15])).any(), "the scene is the same again"

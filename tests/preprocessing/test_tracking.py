from __future__ import annotations

import time

import numpy as np
import pytest

from deepfake_triton.preprocessing.detections import FaceRule
from deepfake_triton.preprocessing.tracking import tracks_from_faces

pytestmark = pytest.mark.fast

RULE = FaceRule()
NOBODY = np.zeros((0, 4))


def box_at(x: float, y: float, side: float = 40) -> list[float]:
    return [x, y, x + side, y + side]


def faces(*boxes: list[float]) -> np.ndarray:
    return np.array(boxes, float) if boxes else NOBODY


def test_a_still_face_is_one_track() -> None:
    (track,) = tracks_from_faces([faces(box_at(10, 20))] * 20, RULE)
    assert track.observed.all()
    assert track.boxes.tolist() == [box_at(10, 20)] * 20


def test_two_people_keep_their_tracks_whatever_the_order_of_the_detector() -> None:
    frames = [faces(box_at(10 + i, 20), box_at(200 - i, 30)) for i in range(20)]
    frames = [boxes[::-1] if index % 2 else boxes for index, boxes in enumerate(frames)]
    tracks = tracks_from_faces(frames, RULE)
    assert len(tracks) == 2
    starts = sorted((track.boxes[0, 0], track.boxes[-1, 0]) for track in tracks)
    assert starts == [(10, 29), (200, 181)]


@pytest.mark.parametrize("step", [4, 7, 10])
def test_crossing_people_go_on_their_own_ways(step: int) -> None:
    """They walk through each other, and while they overlap the detector sees only the one in front."""
    frames = []
    for i in range(30):
        front, behind = box_at(i * step, 50), box_at(29 * step - i * step, 54)
        hidden = abs(front[0] - behind[0]) < 25
        frames.append(faces(front) if hidden else faces(front, behind))
    tracks = tracks_from_faces(frames, RULE)
    assert len(tracks) == 2
    ways = sorted((float(track.boxes[0, 0]), float(track.boxes[-1, 0])) for track in tracks)
    assert ways == [(0, 29 * step), (29 * step, 0)]


def test_crossing_people_that_are_both_seen_keep_their_ways() -> None:
    frames = [faces(box_at(8 * i, 50), box_at(232 - 8 * i, 62)) for i in range(30)]
    tracks = tracks_from_faces(frames, RULE)
    ways = sorted((float(track.boxes[0, 1]), float(track.boxes[-1, 1])) for track in tracks)
    assert ways == [(50, 50), (62, 62)]


def test_where_a_face_is_missed_the_nearest_frame_stands_in() -> None:
    frames = [faces(box_at(i, 0)) for i in range(10)]
    frames[4] = frames[5] = frames[6] = NOBODY
    (track,) = tracks_from_faces(frames, RULE)
    assert track.observed.tolist() == [True] * 4 + [False] * 3 + [True] * 3
    assert track.nearest.tolist() == [0, 1, 2, 3, 3, 3, 7, 7, 8, 9]
    assert track.boxes[4:7, 0].tolist() == [3, 3, 7]


def test_a_face_that_stays_away_long_comes_back_as_somebody_new() -> None:
    """Six frames of twenty may be another person, or another scene; five are a hand before the face."""
    for away, people in ((5, 1), (6, 2)):
        frames = [NOBODY if 7 <= i < 7 + away else faces(box_at(10, 10)) for i in range(20)]
        assert len(tracks_from_faces(frames, RULE)) == people


def test_a_track_seen_in_under_a_quarter_of_the_frames_is_dropped() -> None:
    still, passing = box_at(10, 10), box_at(300, 10)
    for seen, expected in ((4, 1), (5, 2)):
        frames = [faces(still, passing) if i < seen else faces(still) for i in range(20)]
        assert len(tracks_from_faces(frames, RULE)) == expected


def test_at_most_eight_tracks_the_most_seen_and_largest_first() -> None:
    people = [box_at(100 * i, 0, side=20 + i) for i in range(12)]
    frames = [faces(*people)] * 9 + [faces(*people[:2])]
    tracks = tracks_from_faces(frames, RULE)
    sides = [float(track.boxes[0, 2] - track.boxes[0, 0]) for track in tracks]
    assert sides == [21, 20, 31, 30, 29, 28, 27, 26]


def test_no_frames_and_no_faces_give_no_tracks() -> None:
    assert tracks_from_faces([], RULE) == []
    assert tracks_from_faces([NOBODY] * 5, RULE) == []


def test_the_same_input_gives_the_same_tracks() -> None:
    generator = np.random.default_rng(3)
    frames = [np.round(generator.uniform(0, 300, (6, 2)) * 8) / 8 for _ in range(20)]
    boxes = [np.hstack([corner, corner + 40]) for corner in frames]
    first, second = tracks_from_faces(boxes, RULE), tracks_from_faces([b.copy() for b in boxes], RULE)
    assert [t.boxes.tolist() for t in first] == [t.boxes.tolist() for t in second]


@pytest.mark.parametrize("pitch", [3200.0, 0.0, 9.0])
def test_the_most_candidates_in_the_longest_clip_take_moments(pitch: float) -> None:
    """32 in each of 64 frames: somebody new in each, all linked, or all overlapping their neighbors."""
    side = 20.0 if pitch == 9 else 50.0
    frames = [
        faces(
            *(
                box_at(100 * i + pitch * index if pitch != 9 else pitch * i + index, 0, side)
                for i in range(32)
            )
        )
        for index in range(64)
    ]
    began = time.thread_time()
    tracks = tracks_from_faces(frames, RULE)
    assert time.thread_time() - began < 1.0
    assert len(tracks) == (0 if pitch == 3200 else RULE.max_faces)

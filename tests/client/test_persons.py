"""Faces of several windows put together into persons, by pictures of people who are known to differ."""

from __future__ import annotations

import numpy as np
import pytest

from deepfake_triton.client.appearance import appearance_of, distance
from deepfake_triton.client.persons import Persons
from deepfake_triton.client.verdict import FaceVerdict, Segment, Sighting

LEFT, RIGHT = (40.0, 60.0, 120.0, 160.0), (400.0, 60.0, 480.0, 160.0)


def portrait(hue: float, seed: int = 0) -> np.ndarray:
    """Somebody with hair and clothes of a colour of their own; the noise differs from frame to frame."""
    import cv2

    picture = np.full((96, 96, 3), (int(hue), 150, 120), np.uint8)
    picture[30:70, 30:66] = (10, 110, 190)
    picture[: int(96 * (hue % 1))] = (150, 200, 60)  # a hat of any size
    coloured = cv2.cvtColor(picture, cv2.COLOR_HSV2RGB)
    noise = np.random.default_rng(seed).normal(0, 4, coloured.shape)
    return np.clip(coloured + noise, 0, 255).astype(np.uint8)


def face(
    hue: float, start: float, place: tuple[float, ...] = LEFT, probability: float = 0.5, frames: int = 20
) -> FaceVerdict:
    times = start + np.arange(frames) / 25
    boxes = np.tile(np.array(place, np.float32), (frames, 1))
    return FaceVerdict(
        track=0,
        fake_probability=probability,
        frames_observed=frames,
        segments=(Segment(start, start + frames / 25, probability),),
        box=place,  # type: ignore[arg-type]
        face_px=100.0,
        sharpness=50.0,
        sightings=(Sighting(times, boxes, (640, 360), probability),),
        portrait=portrait(hue, seed=int(100 * start)),
    )


def persons(*windows: tuple[FaceVerdict, ...]) -> list[list[float]]:
    """When each person was seen, in the order of appearance."""
    linked = Persons()
    for window in windows:
        linked.add(window)
    return [[segment.start_seconds for segment in each.segments] for each in linked.verdicts()]


def test_two_people_keep_their_names_when_they_change_places() -> None:
    assert persons(
        (face(10, 0, LEFT), face(90, 0, RIGHT)),
        (face(90, 5, LEFT), face(10, 5, RIGHT)),
        (face(90, 9, LEFT),),
    ) == [[0, 5], [0, 5, 9]]


def test_a_person_who_comes_back_is_known_and_a_new_one_is_not() -> None:
    assert persons((face(10, 0),), (), (face(90, 4),), (face(10, 60, RIGHT),)) == [[0, 60], [4]]


def test_two_faces_in_one_frame_are_two_people_however_alike() -> None:
    assert persons((face(10, 0, LEFT), face(10, 0, RIGHT)), (face(10, 1, LEFT), face(10, 1, RIGHT))) == [
        [0, 1],
        [0, 1],
    ]


def test_a_track_that_broke_within_a_window_is_one_person() -> None:
    assert persons((face(10, 0, LEFT, frames=8), face(10, 0.4, RIGHT, frames=8))) == [[0, 0.4]]


def test_place_counts_only_for_a_moment() -> None:
    near = appearance_of(portrait(10))
    hats = [10 + share / 100 for share in range(99)]
    hues = [hue for hue in hats if 0.33 < distance(near, appearance_of(portrait(hue))) < 0.41]
    if not hues:
        pytest.fail("no colour lies between the two borders")
    assert persons((face(10, 0),), (face(hues[0], 1.2),)) == [[0, 1.2]]
    assert persons((face(10, 0),), (face(hues[0], 9),)) == [[0], [9]]


def test_a_person_is_judged_by_all_frames_alike() -> None:
    linked = Persons()
    linked.add((face(10, 0, probability=0.2, frames=20),))
    linked.add((face(10, 3, probability=0.8, frames=10),))
    (person,) = linked.verdicts()
    assert person.fake_probability == pytest.approx(0.4) and person.frames_observed == 30
    assert [segment.fake_probability for segment in person.segments] == [0.2, 0.8]
    assert [len(sighting.pts_seconds) for sighting in person.sightings] == [20, 10]

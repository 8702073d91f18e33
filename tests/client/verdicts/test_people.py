"""Faces of several windows put together into persons: a real head, and its negative for somebody else."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from conftest import Portrait

from deepfake_triton.arrays import Image
from deepfake_triton.client.verdicts.appearance import PORTRAIT, color_distance, color_histogram
from deepfake_triton.client.verdicts.clustering import LINKED_BELOW
from deepfake_triton.client.verdicts.face_embedding import NO_VIEWS, VIEWS, cut_views, embed_face
from deepfake_triton.client.verdicts.people import SAME_PLACE_LIMITS, PersonLinker
from deepfake_triton.client.verdicts.verdict import FaceVerdict, Segment, Sighting
from deepfake_triton.preprocessing.crops import crop_face

pytestmark = pytest.mark.fast
LEFT, RIGHT = (40.0, 60.0, 120.0, 160.0), (400.0, 60.0, 480.0, 160.0)


class People:
    """Makes the faces of two people."""

    def __init__(self, portrait: Portrait) -> None:
        self._box = np.array(portrait.face, np.float32)
        self._heads = {"one": portrait.patch, "other": 255 - portrait.patch}

    def face(
        self,
        who: str,
        start: float,
        place: tuple[float, float, float, float] = LEFT,
        *,
        probability: float = 0.5,
        frames: int = 20,
        light: float = 1.0,
        face_px: float = 100.0,
    ) -> FaceVerdict:
        times = start + np.arange(frames) / 25
        noise = np.random.default_rng(int(100 * start)).normal(0, 4, self._heads[who].shape)
        image: Image = np.clip(self._heads[who] * light + noise, 0, 255).astype(np.uint8)
        boxes = np.tile(self._box, (VIEWS, 1))
        return FaceVerdict(
            track=0,
            fake_probability=probability,
            frames_observed=frames,
            segments=(Segment(start, start + frames / 25, probability),),
            box=place,
            face_px=face_px,
            sharpness=50.0,
            sightings=(
                Sighting(times, np.tile(np.array(place, np.float32), (frames, 1)), (640, 360), probability),
            ),
            portrait=crop_face(image, self._box, PORTRAIT),
            views=cut_views(np.stack([image] * VIEWS), boxes, np.arange(VIEWS)),
        )


@pytest.fixture(scope="module")
def people(portrait: Portrait) -> People:
    return People(portrait)


def linked(*windows: tuple[FaceVerdict, ...]) -> tuple[FaceVerdict, ...]:
    persons = PersonLinker()
    for window in windows:
        persons.add(window)
    return persons.verdicts()


def test_blockiness_of_a_person_is_that_of_most_windows(people: People) -> None:
    windows = [
        (replace(people.face("one", 3 * number), blockiness=0.4 + 0.1 * number),) for number in (0, 1, 2)
    ]
    (person,) = linked(*windows)
    assert person.blockiness == pytest.approx(0.5)


def starts(*windows: tuple[FaceVerdict, ...]) -> list[list[float]]:
    """When each person was seen, in the order of appearance."""
    return [[segment.start_seconds for segment in person.segments] for person in linked(*windows)]


def test_two_people_keep_their_names_when_they_change_places(people: People) -> None:
    assert starts(
        (people.face("one", 0, LEFT), people.face("other", 0, RIGHT)),
        (people.face("other", 5, LEFT), people.face("one", 5, RIGHT)),
        (people.face("other", 9, LEFT),),
    ) == [[0, 5], [0, 5, 9]]


def test_a_person_who_comes_back_in_other_light_is_known_and_a_new_one_is_not(people: People) -> None:
    assert starts(
        (people.face("one", 0),),
        (),
        (people.face("other", 4),),
        (people.face("one", 60, RIGHT, light=0.45),),
        (people.face("other", 70, light=0.6),),
    ) == [[0, 60], [4, 70]]


def test_a_head_that_turns_in_its_place_is_still_the_same(people: People) -> None:
    """Of its five views four look like somebody else, so that the embedding is four fifths off."""
    front, away = people.face("one", 0), people.face("other", 0).views[[0, 1, 2, 0]]

    def turned(
        start: float, place: tuple[float, float, float, float] = LEFT, light: float = 1.0
    ) -> FaceVerdict:
        face = people.face("one", start, place, light=light)
        return replace(face, views=np.concatenate([face.views[:1], away]))

    apart = float(np.linalg.norm(embed_face(front.views) - embed_face(turned(5).views)))
    assert LINKED_BELOW < apart < SAME_PLACE_LIMITS[0].embedding
    assert starts((front,), (turned(5),)) == [[0, 5]]
    assert starts((front,), (turned(25),)) == [[0], [25]]
    assert starts((front,), (turned(5, RIGHT),)) == [[0], [5]]
    assert starts((front,), (turned(5, light=0.4),)) == [[0], [5]]


def test_another_face_of_the_same_colors_in_the_same_place_is_somebody_else(people: People) -> None:
    one, other = people.face("one", 0), people.face("one", 5)
    assert (
        color_distance(color_histogram(one.portrait), color_histogram(other.portrait))
        < SAME_PLACE_LIMITS[0].color
    )
    other = replace(other, views=people.face("other", 5).views)
    assert starts((one,), (other,), (people.face("one", 9),)) == [[0, 9], [5]]


def test_two_faces_in_one_frame_are_two_people_however_alike(people: People) -> None:
    assert starts(
        (people.face("one", 0, LEFT), people.face("one", 0, RIGHT)),
        (people.face("one", 1, LEFT), people.face("one", 1, RIGHT)),
    ) == [[0, 1], [0, 1]]


def test_a_track_that_broke_within_a_window_is_one_person(people: People) -> None:
    window = (people.face("one", 0, LEFT, frames=8), people.face("one", 0.4, RIGHT, frames=8))
    assert starts(window) == [[0, 0.4]]
    assert starts((people.face("one", 0, frames=8), people.face("other", 0.4, frames=8))) == [[0], [0.4]]


def test_faces_without_views_are_linked_to_nobody(people: People) -> None:
    blank = replace(people.face("one", 2), views=NO_VIEWS)
    assert starts((people.face("one", 0),), (blank,), (people.face("one", 4),)) == [[0, 4], [2]]


def test_a_person_is_judged_by_all_frames_alike(people: People) -> None:
    (person,) = linked(
        (people.face("one", 0, probability=0.2, frames=20),),
        (people.face("one", 3, probability=0.8, frames=10),),
    )
    assert person.fake_probability == pytest.approx(0.4) and person.frames_observed == 30
    assert [segment.fake_probability for segment in person.segments] == [0.2, 0.8]
    assert [len(sighting.pts_seconds) for sighting in person.sightings] == [20, 10]


def test_the_clearest_portrait_is_kept_and_verdicts_may_be_asked_for_early(people: People) -> None:
    persons, clear = PersonLinker(), people.face("one", 3, face_px=180)
    persons.add((people.face("one", 0),))
    assert len(persons.verdicts()) == 1
    persons.add((clear,))
    persons.add((people.face("one", 6),))
    for _ in range(2):
        (person,) = persons.verdicts()
        assert person.portrait is clear.portrait and len(person.views) == 0
        assert [segment.start_seconds for segment in person.segments] == [0, 3, 6]


def test_a_long_video_is_linked_as_it_comes_in_bounded_memory(people: People) -> None:
    """60 windows of two people hold less than the portraits of 30, and know both at the end."""
    persons = PersonLinker(most_groups=10)
    seen = [people.face("one", 0), people.face("other", 0, RIGHT)]
    tracemalloc.start()
    for window in range(60):
        moved = [
            replace(
                face,
                sightings=(replace(face.sightings[0], pts_seconds=face.sightings[0].pts_seconds + window),),
                portrait=face.portrait.copy(),
                views=face.views[:1].copy(),
            )
            for face in seen
        ]
        persons.add(tuple(moved))
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert [len(person.segments) for person in persons.verdicts()] == [60, 60]
    assert held < 30 * 2 * seen[0].portrait.nbytes

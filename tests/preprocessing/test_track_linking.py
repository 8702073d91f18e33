"""Tracks are split where one drawn person replaces another, and linked where one comes back elsewhere."""

from __future__ import annotations

import time
from collections.abc import Sequence

import cv2
import numpy as np
import pytest
from drawn_people import (
    ALIKE,
    HEIGHT,
    LEFT,
    RIGHT,
    SAME_WALL,
    WIDTH,
    A,
    B,
    Moment,
    film,
    pattern,
)
from paths import SHARED

from deepfake_triton.models.runtimes.base import Runner
from deepfake_triton.preprocessing.crops import CropRule
from deepfake_triton.preprocessing.cuts import SAME_SHOT_DISTANCE, describe_clip
from deepfake_triton.preprocessing.detections import FaceRule
from deepfake_triton.preprocessing.faces import TrackedFaces, faces_from_detections
from deepfake_triton.preprocessing.track_linking import (
    SAME_PERSON_DISTANCE,
    SAME_PERSON_DISTANCE_ACROSS_CUT,
)
from deepfake_triton.preprocessing.tracking import TrackingResult, track_faces
from deepfake_triton.preprocessing.video.clip import decode_clip

CASES = SHARED / "cases"
RULE = FaceRule()


def tracked(moments: Sequence[Moment]) -> TrackingResult:
    frames, boxes = film(moments)
    return track_faces(boxes, RULE, describe_clip(frames, boxes))


def sightings(tracking: TrackingResult) -> list[str]:
    """One letter a frame for each track: x where it was seen."""
    return ["".join(".x"[int(seen)] for seen in track.observed) for track in tracking.tracks]


pytestmark = pytest.mark.fast


@pytest.mark.parametrize(("first", "second"), [(A, B), (B, A)])
@pytest.mark.parametrize("scenes", [(0, 1), (0, 0)], ids=["a cut", "before the same scene"])
def test_two_people_in_one_place_are_two_tracks(first: int, second: int, scenes: tuple[int, int]) -> None:
    moments = [(scenes[0], {first: LEFT})] * 8 + [(scenes[1], {second: LEFT})] * 12
    assert sightings(tracked(moments)) == ["." * 8 + "x" * 12, "x" * 8 + "." * 12]
    _, boxes = film(moments)
    alone = track_faces(boxes, RULE)
    assert len(alone.tracks) == 1, "their places alone cannot tell them apart"


@pytest.mark.parametrize("alike", [ALIKE, ALIKE + 1])
def test_two_who_look_alike_before_one_wall_are_told_apart_by_the_cut(alike: int) -> None:
    cut = [(0, {A: LEFT})] * 8 + [(SAME_WALL, {alike: LEFT})] * 12
    appearance = describe_clip(*film(cut))
    assert SAME_PERSON_DISTANCE_ACROSS_CUT < appearance.faces.distances()[:8, 8:].min() < SAME_PERSON_DISTANCE
    assert appearance.frames[:8, 8:].min() < SAME_SHOT_DISTANCE, "no limit for all clips finds this cut"
    assert sightings(tracked(cut)) == ["." * 8 + "x" * 12, "x" * 8 + "." * 12]
    back = cut[:14] + [(0, {A: LEFT})] * 6
    assert sightings(tracked(back)) == ["x" * 8 + "." * 6 + "x" * 6, "." * 8 + "x" * 6 + "." * 6]
    uncut = [(0, {A: LEFT})] * 8 + [(0, {alike: LEFT})] * 12
    assert sightings(tracked(uncut)) == ["x" * 20], "one person who smiles"
    assert sightings(tracked([(scene, {A: LEFT}) for scene, _ in cut])) == ["x" * 20], "a jump cut"


def test_a_brief_shot_before_the_same_wall_shows_its_people() -> None:
    long = [(0, {A: LEFT})] * 52 + [(SAME_WALL, {B: LEFT})] * 12
    assert sightings(tracked(long)) == ["x" * 52 + "." * 12, "." * 52 + "x" * 12]


def test_people_who_change_places_by_cuts_keep_their_tracks() -> None:
    moments: list[Moment] = []
    for shot in range(5):
        places = (LEFT, RIGHT) if shot % 2 else (RIGHT, LEFT)
        moments += [(0, {A: places[0], B: places[1]})] * 4
    tracking = tracked(moments)
    assert sightings(tracking) == ["x" * 20] * 2
    lefts = [[int(box[0] > 115) for box in track.boxes[::4]] for track in tracking.tracks]
    assert sorted(lefts) == [[0, 1, 0, 1, 0], [1, 0, 1, 0, 1]]


def test_one_who_comes_back_behind_a_cut_is_one_track() -> None:
    moments = [(0, {A: LEFT})] * 7 + [(1, {B: LEFT})] * 6 + [(2, {A: RIGHT})] * 7
    assert sightings(tracked(moments)) == ["x" * 7 + "." * 6 + "x" * 7, "." * 7 + "x" * 6 + "." * 7]


def test_each_frame_from_another_shot() -> None:
    moments = [(index % 2, {index % 2: LEFT}) for index in range(20)]
    assert sorted(sightings(tracked(moments))) == [".x" * 10, "x." * 10]


@pytest.mark.parametrize("kind", ["flash", "flicker", "fade", "shake", "pan", "blur"])
def test_what_is_no_cut_splits_nobody(kind: str) -> None:
    frames, boxes = film([(0, {A: LEFT, B: RIGHT})] * 20)
    generator, scene = np.random.default_rng(1), frames.astype(float)
    if kind == "flash":
        scene[9] += 90
    elif kind == "flicker":
        scene *= generator.uniform(0.6, 1.2, (20, 1, 1, 1))
    elif kind == "fade":
        scene *= np.linspace(1, 0.2, 20)[:, None, None, None]
    elif kind == "blur":
        scene = np.stack(
            [cv2.GaussianBlur(frame, (0, 0), 2 + index % 3) for index, frame in enumerate(scene)]
        )
    else:
        step = generator.integers(-9, 10, (20, 2)) if kind == "shake" else np.arange(20)[:, None] * [3, 0]
        moves = [np.array([[1, 0, x], [0, 1, y]], float) for x, y in step]
        scene = np.stack(
            [
                cv2.warpAffine(frame, move, (WIDTH, HEIGHT), borderMode=cv2.BORDER_REFLECT)
                for frame, move in zip(scene, moves, strict=True)
            ]
        )
        boxes = [box + np.tile(move, 2) for box, move in zip(boxes, step, strict=True)]
    frames = np.clip(scene, 0, 255).astype(np.uint8)
    tracking = track_faces(boxes, RULE, describe_clip(frames, boxes))
    assert [seen.count("x") >= 19 for seen in sightings(tracking)] == [True, True]
    assert tracking.left_out == 0


def test_a_brief_shot_shows_its_people_and_fewer_frames_are_left_out() -> None:
    """12 of 64 frames are less than a quarter, but all of their shot."""
    long = [(0, {A: LEFT})] * 52 + [(1, {B: LEFT})] * 12
    assert sightings(tracked(long)) == ["x" * 52 + "." * 12, "." * 52 + "x" * 12]
    brief = tracked([(0, {A: LEFT})] * 16 + [(1, {B: LEFT})] * 4)
    assert sightings(brief) == ["x" * 16 + "." * 4] and brief.left_out == 1


def test_a_face_in_one_frame_may_be_a_false_alarm_and_counts_for_nothing() -> None:
    for frames, left_out in ((1, 0), (2, 1), (4, 1)):
        moments = [(0, {A: LEFT, B: RIGHT})] * frames + [(0, {A: LEFT})] * (20 - frames)
        tracking = tracked(moments)
        assert len(tracking.tracks) == 1 and tracking.left_out == left_out


def test_the_ninth_face_and_further_ones_are_counted() -> None:
    places = np.array([[70 * x, 90 * y, 70 * x + 60, 90 * y + 60] for x in range(6) for y in range(2)], float)
    frames = np.stack([pattern(3, 200, 420)] * 10)
    boxes = [places] * 10
    tracking = track_faces(boxes, RULE, describe_clip(frames, boxes))
    assert (len(tracking.tracks), tracking.left_out) == (8, 4)


def test_a_clip_without_a_face_and_a_black_one() -> None:
    frames = np.zeros((20, HEIGHT, WIDTH, 3), np.uint8)
    nobody = [np.zeros((0, 4))] * 20
    assert track_faces(nobody, RULE, describe_clip(frames, nobody)) == TrackingResult((), 0)
    boxes = [np.array([[40.0, 40, 120, 120]])] * 20
    assert sightings(track_faces(boxes, RULE, describe_clip(frames, boxes))) == ["x" * 20]


def test_the_most_faces_in_the_longest_clip_take_moments() -> None:
    """32 in each of 64 frames, linked or somebody new in each."""
    generator = np.random.default_rng(0)
    frames = generator.integers(0, 256, (64, 90, 160, 3)).astype(np.uint8)
    grid = np.array([[20 * x, 20 * y, 20 * x + 16, 20 * y + 16] for x in range(8) for y in range(4)], float)
    for step in (0, 400):
        boxes = [grid + float(step * index) for index in range(64)]
        began = time.monotonic()
        track_faces(boxes, RULE, describe_clip(frames, boxes))
        assert time.monotonic() - began < 5.0


def judged(name: str, detector: Runner) -> TrackedFaces:
    path = CASES / name
    if not path.is_file():
        pytest.skip(f"{path} is missing: the cases are no part of the project")
    frames = decode_clip(path).frames.data
    return faces_from_detections(frames, detector.infer({"frames": frames})["detections"], CropRule())


@pytest.mark.parametrize("name", ["ncut-fakeA8-realB12.mp4", "ncut-realB12-fakeA8.mp4"])
def test_a_hard_cut_between_two_filmed_people(name: str, detector: Runner) -> None:
    found = judged(f"10-hard-cut-two-people/{name}", detector)
    assert sorted(found.observed.sum(axis=1).tolist()) == [8, 12] and found.left_out == 0
    assert (found.observed.sum(axis=0) == 1).all()


def test_two_filmed_people_who_change_places(detector: Runner) -> None:
    found = judged("10-hard-cut-two-people/swap.mp4", detector)
    assert found.observed.all() and len(found.faces) == 2
    for boxes in found.boxes:
        sides = (boxes[:, 0] > 250).reshape(5, 4)
        assert (sides == sides[:, :1]).all() and (sides[:-1, 0] != sides[1:, 0]).all()


def test_twelve_faces(detector: Runner) -> None:
    found = judged("27-more-than-eight-faces/twelve.mp4", detector)
    assert (len(found.faces), found.left_out) == (8, 4)

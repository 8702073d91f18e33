"""Tracks of clips of which the detector got some frames only: boxes between, cuts, and what is observed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from drawn_people import LEFT, RIGHT, A, B, Moment, film

from deepfake_triton.arrays import Boxes
from deepfake_triton.errors import InvalidFrames
from deepfake_triton.preprocessing.crops import CropRule, crop_face
from deepfake_triton.preprocessing.cuts import describe_clip
from deepfake_triton.preprocessing.detected_frames import detected_frames
from deepfake_triton.preprocessing.detections import FaceRule
from deepfake_triton.preprocessing.faces import TrackedFaces, faces_from_detections
from deepfake_triton.preprocessing.track_filling import FaceTrack
from deepfake_triton.preprocessing.tracking import TrackingResult, track_faces, tracks_from_faces

pytestmark = pytest.mark.fast

RULE = FaceRule()
INTERVALS = (2, 3, 4, 5)
NOBODY = np.zeros((0, 4))
Path = Callable[[int], list[float] | None]
"""The box of one person in each frame; None where they are not there."""


def box_at(x: float, y: float, side: float = 40) -> list[float]:
    return [x, y, x + side, y + side]


def seen_by_the_detector(faces: Sequence[Boxes], interval: int) -> list[Boxes]:
    detected = set(detected_frames(len(faces), interval).tolist())
    return [boxes if frame in detected else NOBODY for frame, boxes in enumerate(faces)]


def tracked(people: Sequence[Path], interval: int, num_frames: int = 20) -> list[FaceTrack]:
    """Tracks by place alone of people on their ways."""
    faces = [
        np.array([box for person in people if (box := person(frame))], float).reshape(-1, 4)
        for frame in range(num_frames)
    ]
    detected = detected_frames(num_frames, interval)
    return tracks_from_faces(seen_by_the_detector(faces, interval), RULE, detected)


def filmed(moments: Sequence[Moment], interval: int) -> TrackingResult:
    frames, boxes = film(moments)
    sampled = seen_by_the_detector(boxes, interval)
    detected = detected_frames(len(frames), interval)
    return track_faces(sampled, RULE, describe_clip(frames, sampled), detected=detected)


def sightings(tracks: Sequence[FaceTrack]) -> list[str]:
    """One letter a frame for each track: x where it was observed."""
    return ["".join(".x"[int(seen)] for seen in track.observed) for track in tracks]


@pytest.mark.parametrize("interval", INTERVALS)
@pytest.mark.parametrize("step", [0.5, 3, 6])
def test_a_moving_face_is_where_it_would_have_been_detected(interval: int, step: float) -> None:
    (track,) = tracked([lambda frame: box_at(10 + step * frame, 20, 40 + frame)], interval)
    assert track.observed.all() and track.nearest.tolist() == list(range(20))
    expected = [box_at(10 + step * frame, 20, 40 + frame) for frame in range(20)]
    assert np.abs(track.boxes - expected).max() <= 1 / 16, "rounded to 1/8 px"
    assert np.array_equal(track.boxes * 8, np.round(track.boxes * 8))


@pytest.mark.parametrize("interval", INTERVALS)
@pytest.mark.parametrize("step", [4, 7, 10])
def test_crossing_people_go_on_their_own_ways(interval: int, step: int) -> None:
    """From one detection to the next they move by up to their own side."""
    step = min(step, 40 // interval)
    tracks = tracked(
        [lambda frame: box_at(frame * step, 50), lambda frame: box_at((29 - frame) * step, 62)], interval, 30
    )
    ways = sorted((float(track.boxes[0, 0]), float(track.boxes[-1, 0])) for track in tracks)
    assert ways == [(0, 29 * step), (29 * step, 0)]
    assert all(len(set(track.boxes[:, 1].tolist())) == 1 for track in tracks), "nobody changes lanes"
    assert all(track.observed.all() for track in tracks)


@pytest.mark.parametrize("interval", INTERVALS)
def test_who_enters_or_leaves_is_observed_between_the_detections_that_show_them(interval: int) -> None:
    still, enters, leaves = box_at(10, 10), box_at(100, 10), box_at(200, 10)
    tracks = tracked(
        [
            lambda _: still,
            lambda frame: enters if frame >= 9 else None,
            lambda frame: leaves if frame < 12 else None,
        ],
        interval,
    )
    by_place = {float(track.boxes[0, 0]): track for track in tracks}
    assert sorted(by_place) == [10, 100, 200] and by_place[10].observed.all()
    detected = detected_frames(20, interval)
    first, last = detected[detected >= 9].min(), detected[detected < 12].max()
    assert np.flatnonzero(by_place[100].observed).tolist() == list(range(first, 20))
    assert np.flatnonzero(by_place[200].observed).tolist() == list(range(last + 1))
    assert set(by_place[100].nearest[:first].tolist()) == {first}
    assert set(by_place[200].nearest[last:].tolist()) == {last}


@pytest.mark.parametrize("interval", INTERVALS)
def test_nothing_is_interpolated_past_a_detection_that_missed_the_face(interval: int) -> None:
    detected = detected_frames(20, interval).tolist()
    missed = detected[2]
    (track,) = tracked([lambda frame: None if frame == missed else box_at(10 + frame, 10)], interval)
    before, after = detected[1], detected[3]
    assert np.flatnonzero(~track.observed).tolist() == list(range(before + 1, after))
    assert set(track.boxes[before:after, 0].tolist()) == {10 + before, 10 + after}
    assert track.nearest[(before + after) // 2] == before, "the earlier on a tie"


@pytest.mark.parametrize("interval", [2, 4, 5])
@pytest.mark.parametrize("cut", [8, 9, 10, 13])
def test_at_a_cut_each_frame_has_a_box_of_its_own_shot(interval: int, cut: int) -> None:
    """One person, in two places before two scenes."""
    result = filmed([(0, {A: LEFT})] * cut + [(1, {A: RIGHT})] * (20 - cut), interval)
    detected = detected_frames(20, interval)
    last, first = detected[detected < cut].max(), detected[detected >= cut].min()
    observed = np.zeros(20, bool)
    for track in result.tracks:
        shots = track.nearest < cut
        if shots.all() or not shots.any():  # two tracks, one a shot
            observed |= track.observed
            continue
        observed |= track.observed
        assert (shots == (np.arange(20) < cut)).all()
        assert (track.boxes[:cut, 0] < 100).all() and (track.boxes[cut:, 0] > 150).all()
    assert np.flatnonzero(~observed).tolist() == [*range(last + 1, cut), *range(cut, first)]


@pytest.mark.parametrize("scenes", [(0, 1), (0, 0)], ids=["a cut", "before the same scene"])
def test_two_people_in_one_place_are_two_tracks(scenes: tuple[int, int]) -> None:
    result = filmed([(scenes[0], {A: LEFT})] * 8 + [(scenes[1], {B: LEFT})] * 12, 4)
    # Detected: 0, 4, 8, 11, 15, 19.
    assert sightings(result.tracks) == ["." * 8 + "x" * 12, "x" * 5 + "." * 15]


def test_a_shot_without_a_detected_frame_has_no_observation() -> None:
    # Detected: 0, 5, 10, 14, 19; the second scene is frames 6 to 8.
    result = filmed([(0, {A: LEFT})] * 6 + [(1, {A: LEFT})] * 3 + [(0, {A: LEFT})] * 11, 5)
    assert sightings(result.tracks) == ["xxxxxx....xxxxxxxxxx"]


def test_frames_count_for_a_brief_shot_and_a_single_detection_does_not() -> None:
    """Of twenty frames a face needs five: eight in a shot of their own do, wherever detections fall."""
    for begin in range(1, 12):
        moments = [(0, {A: LEFT})] * begin + [(1, {B: RIGHT})] * 8 + [(0, {A: LEFT})] * (12 - begin)
        result = filmed(moments, 4)
        assert len(result.tracks) == 2 and result.left_out == 0
    flash = box_at(300, 10)
    still: Path = lambda _: box_at(10, 10)  # noqa: E731
    assert len(tracked([still, lambda frame: flash if frame == 10 else None], 5)) == 1
    assert len(tracked([still, lambda frame: flash if frame in {10, 14} else None], 5)) == 2


def test_people_without_a_row_are_counted() -> None:
    faces = [np.array([box_at(60 * place, 10) for place in range(10)], float)] * 20
    sampled = seen_by_the_detector(faces, 4)
    result = track_faces(sampled, RULE, detected=detected_frames(20, 4))
    assert len(result.tracks) == 8 and result.left_out == 2


def rows(detections: int, *boxes: Sequence[float]) -> np.ndarray:
    table = np.zeros((detections, 32, 15), np.float32)
    table[:, : len(boxes), :4] = np.array(boxes, np.float32).reshape(-1, 4)
    table[:, : len(boxes), 4] = 0.9
    return table


def moving_crops(interval: int) -> tuple[np.ndarray, TrackedFaces]:
    frames = np.random.default_rng(0).integers(0, 256, (9, 120, 160, 3), np.uint8)
    detected = detected_frames(9, interval)
    detections = rows(len(detected), box_at(0, 0))
    for row, frame in enumerate(detected):
        detections[row, 0, :4] = box_at(10 + 4 * frame, 20)
    return frames, faces_from_detections(frames, detections, CropRule(), detection_interval=interval)


def test_crops_are_cut_from_each_frame_at_its_own_box() -> None:
    frames, tracked_faces = moving_crops(4)
    assert tracked_faces.observed.all() and tracked_faces.faces.shape == (1, 9, 112, 112, 3)
    for index, crop in enumerate(tracked_faces.faces[0]):
        assert np.array_equal(
            crop, crop_face(frames[index], np.array(box_at(10 + 4 * index, 20)), CropRule())
        )


@pytest.mark.parametrize(("interval", "detections"), [(4, 9), (4, 2), (1, 3), (4, 4)])
def test_detections_of_other_frames_are_refused(interval: int, detections: int) -> None:
    frames = np.zeros((9, 90, 120, 3), np.uint8)
    with pytest.raises(InvalidFrames, match=rf"got \[{detections}, 32, 15\], expected"):
        faces_from_detections(frames, rows(detections), CropRule(), detection_interval=interval)

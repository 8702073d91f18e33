from __future__ import annotations

import numpy as np
import pytest
from conftest import Portrait
from support import backdrop, overlap, pasted

from deepfake_triton.errors import InvalidFrames
from deepfake_triton.export.runners import Runner
from deepfake_triton.preprocessing.crops import CropRule
from deepfake_triton.preprocessing.faces import faces_from_detections

RULE = CropRule()


def test_faces_pasted_at_known_places_are_found_there(portrait: Portrait, detector: Runner) -> None:
    places = [(40, 30), (380, 150)]
    scene = backdrop(360, 640)
    for left, top in places:
        scene = pasted(scene, portrait.patch, left, top)
    frames = np.stack([scene] * 5)
    tracked = faces_from_detections(frames, detector.infer({"frames": frames})["detections"], RULE)
    assert tracked.faces.shape == (2, 5, 112, 112, 3) and tracked.observed.all()
    found = sorted(tracked.boxes[:, 0].tolist())
    for box, place in zip(found, places, strict=True):
        assert overlap(box, portrait.face_at(*place)) > 0.8


def test_two_people_who_walk_through_each_other(portrait: Portrait, detector: Runner) -> None:
    scene = backdrop(360, 640)
    small = portrait.patch[::2, ::2]
    frames = []
    for index in range(30):
        behind = pasted(scene, small[:, ::-1], 520 - 16 * index, 110)
        frames.append(pasted(behind, small, 40 + 16 * index, 100))
    clip = np.stack(frames)
    tracked = faces_from_detections(clip, detector.infer({"frames": clip})["detections"], RULE)
    assert len(tracked.faces) == 2
    moves = sorted(float(boxes[-1, 0] - boxes[0, 0]) for boxes in tracked.boxes)
    assert moves == pytest.approx([-16 * 29, 16 * 29], abs=25)


def test_a_scene_without_a_face_is_one_blank_row(detector: Runner) -> None:
    frames = np.stack([backdrop(240, 320, seed) for seed in range(3)])
    tracked = faces_from_detections(frames, detector.infer({"frames": frames})["detections"], RULE)
    assert not tracked.found
    assert tracked.faces.shape == (1, 1, 112, 112, 3) and not tracked.faces.any()
    assert tracked.boxes.shape == (1, 1, 4) and tracked.observed.tolist() == [[False]]


def test_a_missed_frame_repeats_the_nearest_crop(portrait: Portrait, detector: Runner) -> None:
    scene = backdrop(360, 640)
    frames = np.stack([pasted(scene, portrait.patch, 40 + 20 * index, 30) for index in range(4)])
    detections = detector.infer({"frames": frames})["detections"].copy()
    detections[2] = 0
    tracked = faces_from_detections(frames, detections, RULE)
    assert tracked.observed.tolist() == [[True, True, False, True]]
    assert np.array_equal(tracked.faces[0, 2], tracked.faces[0, 1])
    assert not np.array_equal(tracked.faces[0, 1], tracked.faces[0, 3])


@pytest.mark.parametrize(
    ("frames", "detections"),
    [
        (np.zeros((2, 8, 8, 3), np.float32), np.zeros((2, 32, 15), np.float32)),
        (np.zeros((2, 8, 8, 4), np.uint8), np.zeros((2, 32, 15), np.float32)),
        (np.zeros((2, 0, 8, 3), np.uint8), np.zeros((2, 32, 15), np.float32)),
        (np.zeros((65, 8, 8, 3), np.uint8), np.zeros((65, 32, 15), np.float32)),
        (np.zeros((2, 8, 8, 3), np.uint8), np.zeros((3, 32, 15), np.float32)),
        (np.zeros((2, 8, 8, 3), np.uint8), np.zeros((2, 31, 15), np.float32)),
    ],
)
def test_shapes_that_do_not_belong_together_are_refused(frames: np.ndarray, detections: np.ndarray) -> None:
    with pytest.raises(InvalidFrames, match=r"expected|at most"):
        faces_from_detections(frames, detections, RULE)

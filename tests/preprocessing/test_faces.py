from __future__ import annotations

import time

import numpy as np
import pytest
from conftest import Portrait
from support import backdrop, overlap, pasted

from deepfake_triton.errors import InvalidFrames
from deepfake_triton.models.runtimes.base import Runner
from deepfake_triton.preprocessing.crops import CropRule
from deepfake_triton.preprocessing.faces import faces_from_detections

pytestmark = pytest.mark.fast

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


def rows(frames: int, *boxes: tuple[float, ...]) -> np.ndarray:
    """The same candidates in each frame, best first."""
    table = np.zeros((frames, 32, 15), np.float32)
    table[:, : len(boxes), :4] = np.array(boxes, np.float32).reshape(-1, 4)
    table[:, : len(boxes), 4] = np.linspace(0.9, 0.6, len(boxes))
    return table


@pytest.mark.parametrize(
    "box", [(0, 0, np.nan, 50), (0, 0, np.inf, np.inf), (60, 60, 10, 10), (5, 5, 5, 60), (-90, -90, -20, -20)]
)
def test_a_box_that_is_none_gives_nothing(box: tuple[float, ...]) -> None:
    tracked = faces_from_detections(np.zeros((4, 90, 90, 3), np.uint8), rows(4, box), RULE)
    assert not tracked.found and tracked.faces.shape == (1, 1, 112, 112, 3)


@pytest.mark.parametrize("far", [1e30, -1e30, 20_000.0])
def test_a_box_that_no_detector_gives_is_refused(far: float) -> None:
    frames = np.zeros((4, 90, 90, 3), np.uint8)
    with pytest.raises(InvalidFrames, match=r"got a box at .* px, expected at most 16384 px"):
        faces_from_detections(frames, rows(4, (0, 0, abs(far), far)), RULE)


def test_a_box_beyond_the_frame_is_the_part_inside() -> None:
    frames = np.random.default_rng(0).integers(0, 256, (2, 90, 120, 3), np.uint8)
    beyond = faces_from_detections(frames, rows(2, (-4000, 10, 16000, 70)), RULE)
    inside = faces_from_detections(frames, rows(2, (0, 10, 120, 70)), RULE)
    assert beyond.found and np.array_equal(beyond.faces, inside.faces)
    assert np.array_equal(beyond.boxes, inside.boxes)


@pytest.mark.parametrize(
    ("shape", "says"),
    [
        ((8, 4096, 4096, 3), f"got {8 * 4096**2} pixels .*at most {2**26} a clip"),
        ((1, 4097, 8, 3), "got 1 of 8 × 4097 px, expected 1…64 of at most 4096 px"),
        ((65, 8, 8, 3), "got 65 of 8 × 8 px, expected 1…64"),
    ],
)
def test_a_clip_beyond_the_contract_is_refused_before_it_is_touched(
    shape: tuple[int, ...], says: str
) -> None:
    frames = np.broadcast_to(np.uint8(0), shape)
    with pytest.raises(InvalidFrames, match=says):
        faces_from_detections(frames, rows(shape[0]), RULE)


@pytest.mark.parametrize(
    "shape", [(64, 1024, 1024, 3), (64, 256, 4096, 3), (64, 360, 640, 3), (4, 4096, 4096, 3)]
)
def test_hostile_boxes_cost_moments(shape: tuple[int, ...]) -> None:
    """Strips as long as the frame, eight of them: each asks for the whole square around it."""
    frames = np.broadcast_to(np.uint8(0), shape)
    height, width = shape[1] // 8, shape[2]
    strips = [(0, height * i, width, height * (i + 1)) for i in range(8)]
    began = time.thread_time()
    with pytest.raises(InvalidFrames, match=rf"squares add up to {8 * shape[0] * width**2} pixels, at most"):
        faces_from_detections(frames, rows(shape[0], *strips), RULE)
    assert time.thread_time() - began < 1.0


def test_a_crowd_from_edge_to_edge_is_within_bounds() -> None:
    """32 frames of 1080p, eight faces of 480 × 540 px that leave no room between them: the most there is."""
    frames = np.zeros((32, 1080, 1920, 3), np.uint8)
    boxes = [(480 * x, 540 * y, 480 * x + 480, 540 * y + 540) for x in range(4) for y in range(2)]
    assert len(faces_from_detections(frames, rows(32, *boxes), RULE).faces) == 8

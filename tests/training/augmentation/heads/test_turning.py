"""Turns of a drawn head: its points are known in three dimensions, and so where they go."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from drawn_head import DEPTH, RADII, DrawnHead, draw_head, pivot_of, surface, turned

from deepfake_triton.models.face_mesh.topology import FOREHEAD, NOSE_TIP, OUTLINE
from deepfake_triton.training.augmentation.heads.motion import HeadMotion, MovedHead, move_head
from deepfake_triton.training.augmentation.heads.turning import (
    head_pose,
    head_surface,
    limit_turn,
    ring_triangles,
    turn_points,
)

pytestmark = pytest.mark.fast

MARKS = np.array([[120.0, 138], [100, 135], [141, 150], [120, 85], [98, 88], [142, 180], [105, 153]])


def marked_head() -> DrawnHead:
    """The head with a white mark at each of MARKS."""
    head = draw_head()
    for x, y in MARKS:
        cv2.circle(head.pixels, (int(x), int(y)), 3, (255, 255, 255), -1, cv2.LINE_AA)
    return head


def moved(head: DrawnHead, motion: HeadMotion) -> MovedHead:
    return move_head(head.pixels, head.mesh, motion, landmarks=head.landmarks, box=head.box)


def mark_near(image: np.ndarray, x: float, y: float) -> np.ndarray:
    """The middle (x, y) of the white mark within 7 px of a place."""
    left, top = round(x) - 7, round(y) - 7
    light = np.clip(image[top : top + 15, left : left + 15].min(axis=2).astype(float) - 150, 0, None)
    assert light.sum() > 500, "no mark there"
    rows, columns = np.mgrid[:15, :15]
    return np.array([(light * columns).sum(), (light * rows).sum()]) / light.sum() + (left, top)


@pytest.mark.parametrize("yaw", [-25, -12, 12, 25])
def test_marks_go_where_a_turn_takes_their_points(yaw: float) -> None:
    head = marked_head()
    out = moved(head, HeadMotion(yaw_degrees=yaw)).pixels
    expected = turned(surface(MARKS), pivot_of(head.mesh), yaw)
    assert np.abs(expected[:, 0] - MARKS[:, 0]).max() > 0.15 * DEPTH, "it does turn"
    for x, y, _ in expected:
        assert np.hypot(*(mark_near(out, x, y) - (x, y))) < 1


@pytest.mark.parametrize("roll", [-30, 20])
def test_a_tilted_head_turns_around_its_own_axis(roll: float) -> None:
    head = marked_head()
    matrix = cv2.getRotationMatrix2D((120.0, 125.0), -roll, 1)
    upright = moved(head, HeadMotion(yaw_degrees=15)).mesh
    places = head.mesh[:, :2] @ matrix[:, :2].T + matrix[:, 2]
    tilted = np.column_stack([places, head.mesh[:, 2]])
    pose = head_pose(tilted)
    found = turn_points(tilted, pose, yaw_degrees=15, pitch_degrees=0)
    expected = upright[NOSE_TIP, :2] @ matrix[:, :2].T + matrix[:, 2]
    np.testing.assert_allclose(found[NOSE_TIP, :2], expected, atol=1e-6)


def test_positive_angles_turn_right_and_down() -> None:
    head = draw_head()
    nose = head.mesh[NOSE_TIP]
    right, down = (moved(head, HeadMotion(*angles)).mesh[NOSE_TIP] for angles in ((20, 0), (0, 15)))
    assert right[0] - nose[0] > 15 and abs(right[1] - nose[1]) < 1e-6
    assert down[1] - nose[1] > 10 and abs(down[0] - nose[0]) < 1e-6


def test_a_mirrored_view_turns_alike() -> None:
    """Left and right vertices are on the other side there, and triangles wind the other way."""
    head = marked_head()
    width = head.pixels.shape[1]
    flipped = head.mesh * [-1, 1, 1] + np.array([width - 1, 0, 0])
    landmarks = head.landmarks * [-1, 1] + np.array([width - 1, 0])
    box = np.array([width - 1 - head.box[2], head.box[1], width - 1 - head.box[0], head.box[3]])
    plain = moved(head, HeadMotion(20, 8, 0.6, 0.4, 0.3))
    mirrored = move_head(
        np.ascontiguousarray(head.pixels[:, ::-1]),
        flipped,
        HeadMotion(-20, 8, 0.6, 0.4, 0.3),
        landmarks=landmarks,
        box=box,
    )
    assert np.abs(mirrored.pixels[:, ::-1].astype(int) - plain.pixels).mean() < 0.5
    np.testing.assert_allclose(
        mirrored.mesh * [-1, 1, 1] + np.array([width - 1, 0, 0]), plain.mesh, atol=0.01
    )


def test_the_picture_far_from_the_head_stays_and_nothing_tears() -> None:
    """Every pixel of a smooth picture changes smoothly, but at the far edge of the face."""
    head = draw_head()
    x, y = np.meshgrid(np.arange(440.0), np.arange(460.0))
    ramp = np.dstack([x / 2, y / 2, 0 * x]).astype(np.uint8)
    shifted = head.mesh + np.array([100, 100, 0])
    out = move_head(
        ramp, shifted, HeadMotion(yaw_degrees=25), landmarks=head.landmarks + 100, box=head.box + 100.0
    ).pixels
    assert (out[:20] == ramp[:20]).all() and (out[:, :40] == ramp[:, :40]).all()
    left_half = out[100:360, 60:220].astype(int)
    assert np.abs(np.diff(left_half[..., 0], axis=1)).max() <= 4
    assert np.abs(np.diff(left_half[..., 1], axis=0)).max() <= 4
    assert np.diff(left_half[..., 0], axis=1).min() >= -1, "folded"


def test_the_surface_of_the_head_covers_the_mesh_and_ends_unmoved() -> None:
    head = draw_head()
    whole = head_surface(head.mesh, head_pose(head.mesh))
    assert set(ring_triangles().ravel().tolist()) == {*OUTLINE, *range(468, len(whole.points))}
    assert (whole.kept[:468] == 1).all() and (whole.kept[-36:] == 0).all()
    outermost = whole.points[-36:]
    assert np.abs(outermost[:, 0] - 120).max() > 1.8 * RADII[0]
    assert whole.points[FOREHEAD, 2] == pytest.approx(head.mesh[FOREHEAD, 2]), "only the sides recede"


def test_a_head_that_is_turned_already_is_turned_less_far() -> None:
    head = draw_head()

    def limited(own: float, yaw: float) -> float:
        mesh = turned(head.mesh, pivot_of(head.mesh), own)
        return limit_turn(mesh, yaw_degrees=yaw, pitch_degrees=0)[0]

    assert limited(0, 30) == 30 and limited(0, -30) == -30
    assert limited(20, 30) == pytest.approx(16, abs=0.5) and limited(-20, -30) == pytest.approx(-16, abs=0.5)
    assert limited(-10, 30) == pytest.approx(16, abs=0.7), "what is hidden stays hidden"
    assert limited(50, 30) == 0 and limited(50, -30) == pytest.approx(-6)
    nodding = turn_points(head.mesh, head_pose(head.mesh), yaw_degrees=0, pitch_degrees=20)
    down, up = (limit_turn(nodding, yaw_degrees=0, pitch_degrees=pitch)[1] for pitch in (20, -20))
    assert 0 < down < 12 and up == -20


@pytest.mark.parametrize("roll_degrees", [-30, 30])
def test_a_tilted_head_is_turned_as_far_as_an_upright_one(roll_degrees: float) -> None:
    mesh = draw_head().mesh
    mesh = turned(mesh, pivot_of(mesh), 20)
    roll = np.deg2rad(roll_degrees)
    tilt = np.array([[np.cos(roll), np.sin(roll), 0], [-np.sin(roll), np.cos(roll), 0], [0, 0, 1]])
    upright, tilted = (limit_turn(one, yaw_degrees=30, pitch_degrees=0)[0] for one in (mesh, mesh @ tilt))
    assert tilted == pytest.approx(upright) and 15 < upright < 17


def test_points_follow_the_picture_and_the_box_follows_the_hull() -> None:
    head = marked_head()
    out = moved(replace(head, landmarks=MARKS[:5]), HeadMotion(yaw_degrees=20))
    expected = turned(surface(MARKS[:5]), pivot_of(head.mesh), 20)
    assert np.abs(out.landmarks - expected[:, :2]).max() < 1.5
    places = []
    for points, box in ((head.mesh, head.box), (out.mesh, out.box)):
        low, side = points[:, :2].min(axis=0), np.ptp(points[:, :2], axis=0)
        places.append((box.reshape(2, 2) - low) / side)
    np.testing.assert_allclose(places[0], places[1])

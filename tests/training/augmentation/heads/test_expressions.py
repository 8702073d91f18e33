"""Eyes and mouth of a drawn head, whose colors say what is seen: skin, eyeball, pupil, lips."""

from __future__ import annotations

import numpy as np
import pytest
from drawn_head import EYE_WIDTH, EYEBALL, MOUTH_WIDTH, SKIN, draw_head

from deepfake_triton.models.face_mesh.topology import (
    CHIN,
    EYES,
    LOWER_LIP,
    MOUTH_CORNERS,
    NOSE_TIP,
    UPPER_LIP,
)
from deepfake_triton.training.augmentation.heads.eyes import close_eyes
from deepfake_triton.training.augmentation.heads.mouth import move_mouth

pytestmark = pytest.mark.fast


def changed(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    return (before != after).any(axis=2)


def count_eyeball(image: np.ndarray) -> int:
    return int((np.abs(image.astype(int) - EYEBALL).max(axis=2) < 60).sum())


def test_the_eyeball_disappears_as_the_lids_come_down() -> None:
    head = draw_head()
    seen = [count_eyeball(close_eyes(head.pixels, head.mesh, part)[0]) for part in (0.25, 0.5, 0.75, 1.0)]
    whole = count_eyeball(head.pixels)
    assert whole > 100
    assert whole > seen[0] > seen[1] > seen[2] >= seen[3]
    assert seen[3] < 0.02 * whole, "but for the outermost pixels of the corners"
    assert 0.15 < seen[1] / whole < 0.6


def test_what_is_still_open_of_a_half_closed_eye_is_not_squeezed() -> None:
    head = draw_head()
    half, mesh = close_eyes(head.pixels, head.mesh, 0.5)
    for eye in EYES:
        upper, lower = mesh[eye.upper[4], :2], mesh[eye.lower[4], :2]
        assert lower[1] - upper[1] == pytest.approx(4.5, abs=0.1)
        x, row = round(upper[0]), int(lower[1] - 1)
        expected = head.pixels[row, x - 8 : x + 9].astype(int)
        assert np.ptp(expected) > 150, "pupil and eyeball"
        np.testing.assert_allclose(half[row, x - 8 : x + 9], expected, atol=20)


def test_closed_lids_meet_in_a_line_of_lashes_with_skin_above() -> None:
    head = draw_head()
    out, mesh = close_eyes(head.pixels, head.mesh, 1.0)
    for eye in EYES:
        gaps = mesh[list(eye.upper), 1] - mesh[list(eye.lower), 1]
        np.testing.assert_allclose(gaps, 0, atol=1e-6)
        assert mesh[eye.upper[4], 1] > head.mesh[eye.upper[4], 1] + 6
        x, y = (round(value) for value in mesh[eye.upper[4], :2])
        assert out[y - 1 : y + 2, x].sum(axis=1).min() < 0.75 * sum(SKIN), "lashes"
        above = out[y - 7 : y - 3, x - 4 : x + 5].astype(int)
        assert np.abs(above - SKIN).max() < 12


def test_nothing_changes_beyond_the_eyes_and_brows() -> None:
    head = draw_head()
    for part in (0.3, 1.0):
        rows, columns = np.nonzero(changed(head.pixels, close_eyes(head.pixels, head.mesh, part)[0]))
        assert len(rows) > 100
        assert rows.min() >= 108 - 0.75 * EYE_WIDTH and rows.max() <= 108 + 0.6 * EYE_WIDTH
        away = np.minimum(np.abs(columns - 92), np.abs(columns - 148))
        assert away.max() <= 0.65 * EYE_WIDTH


def test_an_opened_mouth_is_dark_between_lips_that_stay_whole() -> None:
    head = draw_head()
    out, mesh = move_mouth(head.pixels, head.mesh, opened=0.6, smile=0.0)
    drop = 0.6 * 0.42 * MOUTH_WIDTH
    gap = mesh[LOWER_LIP[5], 1] - mesh[UPPER_LIP[5], 1]
    assert gap == pytest.approx(4 + drop, abs=0.2)
    middle = out[round(mesh[UPPER_LIP[5], 1]) + 7, 120]
    assert middle.max() < 110 and middle[0] > middle[2], "dark and reddish"
    lip = out[round(mesh[LOWER_LIP[5], 1]) + 1, 120].astype(int)
    np.testing.assert_allclose(lip, head.pixels[171, 120], atol=30)
    np.testing.assert_array_equal(mesh[list(UPPER_LIP)], head.mesh[list(UPPER_LIP)])
    assert mesh[CHIN, 1] - head.mesh[CHIN, 1] > 0.7 * drop
    np.testing.assert_array_equal(mesh[NOSE_TIP], head.mesh[NOSE_TIP])
    assert not changed(head.pixels, out)[:155].any(), "nothing above the upper lip moves"


def test_the_chin_moves_with_the_jaw() -> None:
    head = draw_head()
    out, mesh = move_mouth(head.pixels, head.mesh, opened=0.8, smile=0.0)

    def bottom(image: np.ndarray) -> int:
        is_skin = np.abs(image[:, 120].astype(int) - SKIN).max(axis=1) < 20
        return int(np.nonzero(is_skin)[0].max())

    assert bottom(out) - bottom(head.pixels) == pytest.approx(mesh[CHIN, 1] - head.mesh[CHIN, 1], abs=3)


def test_a_smile_moves_the_corners_out_and_up() -> None:
    head = draw_head()
    smiling = move_mouth(head.pixels, head.mesh, opened=0.0, smile=1.0)[1]
    pursed = move_mouth(head.pixels, head.mesh, opened=0.0, smile=-1.0)[1]
    left, right = (smiling[corner] - head.mesh[corner] for corner in MOUTH_CORNERS)
    assert left[0] < -2 and right[0] > 2 and max(left[1], right[1]) < -2
    assert np.ptp(pursed[list(MOUTH_CORNERS), 0]) < np.ptp(head.mesh[list(MOUTH_CORNERS), 0]) - 4


def test_tiny_faces_and_faces_beyond_the_picture_stay_as_they_are() -> None:
    head = draw_head()
    for mesh in (head.mesh * 0.05, head.mesh + np.array([900, 0, 0])):
        assert (close_eyes(head.pixels, mesh, 1.0)[0] == head.pixels).all()
        assert (move_mouth(head.pixels, mesh, opened=1.0, smile=1.0)[0] == head.pixels).all()

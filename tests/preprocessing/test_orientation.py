from __future__ import annotations

import math

import numpy as np
import pytest

from deepfake_triton.preprocessing.orientation import Orientation, orientation_from_matrix


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_every_matrix_moves_pixels_where_it_says(mirrored: bool, turns: int) -> None:
    """Each corner of a picture goes where x' = a·x + c·y, y' = b·x + d·y sends it, around the centre."""
    angle = -turns * math.pi / 2  # y points down, so counterclockwise is negative
    a, b, c, d = math.cos(angle), math.sin(angle), -math.sin(angle), math.cos(angle)
    if mirrored:
        a, b = -a, -b
    orientation = orientation_from_matrix(a, b, c, d)
    assert orientation == Orientation(mirrored, turns)

    picture = np.zeros((3, 3, 3), np.uint8)
    for y in range(3):
        for x in range(3):
            picture[y, x] = 10 * y + x
    upright = orientation.upright(picture)
    for y in (-1, 0, 1):
        for x in (-1, 0, 1):
            moved_x, moved_y = round(a * x + c * y), round(b * x + d * y)
            assert np.array_equal(upright[moved_y + 1, moved_x + 1], picture[y + 1, x + 1])


def test_scaled_matrices_turn_the_same_way() -> None:
    assert orientation_from_matrix(0, 65536, -65536, 0) == Orientation(False, 3)

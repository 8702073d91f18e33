from __future__ import annotations

import math
import struct
from pathlib import Path

import numpy as np
import pytest
from support import quarter_colors, quarters, write_clip

from deepfake_triton.preprocessing.decoding.orientation import Orientation, orientation_from_matrix
from deepfake_triton.preprocessing.video.clip import decode_clip

pytestmark = pytest.mark.fast


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_every_matrix_moves_pixels_where_it_says(mirrored: bool, turns: int) -> None:
    """Each corner of a image goes where x' = a·x + c·y, y' = b·x + d·y sends it, around the center."""
    angle = -turns * math.pi / 2  # y points down, so counterclockwise is negative
    a, b, c, d = math.cos(angle), math.sin(angle), -math.sin(angle), math.cos(angle)
    if mirrored:
        a, b = -a, -b
    orientation = orientation_from_matrix((a, b, c, d))
    assert orientation == Orientation(mirrored, turns)

    image = np.zeros((3, 3, 3), np.uint8)
    for y in range(3):
        for x in range(3):
            image[y, x] = 10 * y + x
    upright = orientation.apply(image)
    for y in (-1, 0, 1):
        for x in (-1, 0, 1):
            moved_x, moved_y = round(a * x + c * y), round(b * x + d * y)
            assert np.array_equal(upright[moved_y + 1, moved_x + 1], image[y + 1, x + 1])


def test_scaled_matrices_turn_the_same_way() -> None:
    assert orientation_from_matrix((0, 65536, -65536, 0)) == Orientation(False, 3)


def matrices() -> list[tuple[int, int, int, int, Orientation]]:
    """All eight that turn by quarters, with what they mean."""
    return [
        *((1, 0, 0, 1, Orientation(False, 0)), (-1, 0, 0, 1, Orientation(True, 0))),
        *((-1, 0, 0, -1, Orientation(False, 2)), (1, 0, 0, -1, Orientation(True, 2))),
        *((0, 1, 1, 0, Orientation(True, 1)), (0, 1, -1, 0, Orientation(False, 3))),
        *((0, -1, -1, 0, Orientation(True, 3)), (0, -1, 1, 0, Orientation(False, 1))),
    ]


@pytest.mark.parametrize("suffix", ["mp4", "mov"])
@pytest.mark.parametrize("matrix", matrices())
def test_all_eight_matrices_of_a_movie_are_displayed_upright(
    tmp_path: Path, suffix: str, matrix: tuple[int, int, int, int, Orientation]
) -> None:
    """The track header's matrix {a, b, u, c, d, v, x, y, w}, written over the one of the encoder."""
    *abcd, orientation = matrix
    path = write_clip(tmp_path / f"turned.{suffix}", [quarters()] * 3)
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 40
    assert struct.unpack(">9i", data[at : at + 36]) == (65536, 0, 0, 0, 65536, 0, 0, 0, 1 << 30)
    a, b, c, d = (value << 16 for value in abcd)
    data[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    displayed = decode_clip(path).frames.data[0]
    assert quarter_colors(displayed) == quarter_colors(orientation.apply(quarters()))


@pytest.mark.parametrize(("rotation", "turns"), [(90, 1), (-90, 3), (180, 2)])
def test_a_matroska_projection_is_displayed_upright(tmp_path: Path, rotation: int, turns: int) -> None:
    clip = write_clip(tmp_path / "turned.mkv", [quarters()] * 3, rotation=rotation)
    displayed = decode_clip(clip).frames.data[0]
    assert quarter_colors(displayed) == quarter_colors(np.rot90(quarters(), turns))

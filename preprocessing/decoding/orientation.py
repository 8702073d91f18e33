"""Turn decoded frames upright, by the display matrix that phones write instead of rotating pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from av.sidedata.sidedata import Type

from deepfake_triton.arrays import Image


@dataclass(frozen=True)
class Orientation:
    """Mirroring left to right if `mirrored`, then rotation by `quarter_turns` × 90° counterclockwise."""

    mirrored: bool = False
    quarter_turns: int = 0

    def apply(self, image: Image) -> Image:
        """Return a stored image [H, W, 3] upright."""
        if self.mirrored:
            image = image[:, ::-1]
        return np.ascontiguousarray(np.rot90(image, self.quarter_turns))

    def then(self, other: Orientation) -> Orientation:
        """Return the orientation that applies this one, then `other`."""
        turns = -self.quarter_turns if other.mirrored else self.quarter_turns
        return Orientation(self.mirrored != other.mirrored, (turns + other.quarter_turns) % 4)


def read_orientation(frame: Any) -> Orientation:
    """Read the display matrix of a decoded PyAV frame (ISO/IEC 14496-12, `matrix` of the track header)."""
    try:
        matrix = np.frombuffer(bytes(frame.side_data[Type.DISPLAYMATRIX]), np.int32)
    except KeyError:
        return Orientation()
    except ValueError:  # side data of a type that this PyAV does not know: without mirroring then
        return Orientation(quarter_turns=round(frame.rotation / 90) % 4)
    a, b, c, d = (float(matrix[index]) for index in (0, 1, 3, 4))
    return orientation_from_matrix((a, b, c, d))


def orientation_from_exif(value: int) -> Orientation:
    """Return the orientation for a value 1…8 of the EXIF tag, the place of the first row and column."""
    return _EXIF_ORIENTATIONS[value - 1]


def orientation_from_matrix(matrix: tuple[float, float, float, float]) -> Orientation:
    """Return the orientation nearest to x' = a·x + c·y, y' = b·x + d·y for (a, b, c, d); y points down."""
    a, b, c, d = matrix
    mirrored = a * d - b * c < 0
    if mirrored:  # mirroring first turns x into -x
        a, b = -a, -b
    return Orientation(mirrored, round(np.degrees(np.arctan2(-b, a)) / 90) % 4)


_EXIF_ORIENTATIONS = (
    *(Orientation(False, 0), Orientation(True, 0), Orientation(False, 2), Orientation(True, 2)),
    *(Orientation(True, 1), Orientation(False, 3), Orientation(True, 3), Orientation(False, 1)),
)

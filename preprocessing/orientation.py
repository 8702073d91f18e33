"""Which way up a decoded frame is shown: the display matrix that phones write instead of turning pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from av.sidedata.sidedata import Type


@dataclass(frozen=True)
class Orientation:
    """Mirror left to right if `mirrored`, then turn by `quarter_turns` × 90° counterclockwise."""

    mirrored: bool = False
    quarter_turns: int = 0

    def upright(self, picture: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """The picture [H, W, 3] as it is meant to be seen."""
        if self.mirrored:
            picture = picture[:, ::-1]
        return np.ascontiguousarray(np.rot90(picture, self.quarter_turns))


def orientation_of(frame: Any) -> Orientation:
    """Read a decoded frame's display matrix (ISO/IEC 14496-12, `matrix` of the track header)."""
    try:
        matrix = np.frombuffer(bytes(frame.side_data[Type.DISPLAYMATRIX]), np.int32)
    except KeyError:
        return Orientation()
    except ValueError:  # photos carry EXIF beside it, a type that PyAV 18 does not know: no mirroring then
        return Orientation(quarter_turns=round(frame.rotation / 90) % 4)
    return orientation_from_matrix(*(float(matrix[index]) for index in (0, 1, 3, 4)))


def orientation_from_matrix(a: float, b: float, c: float, d: float) -> Orientation:
    """The orientation nearest to x' = a·x + c·y, y' = b·x + d·y, where y points down."""
    mirrored = a * d - b * c < 0
    if mirrored:  # mirroring first turns x into -x
        a, b = -a, -b
    return Orientation(mirrored, round(np.degrees(np.arctan2(-b, a)) / 90) % 4)

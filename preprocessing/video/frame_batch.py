"""Frames of one clip with their display times."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from deepfake_triton.arrays import Frames
from deepfake_triton.errors import InvalidFrames
from deepfake_triton.preprocessing.clip_size import require_clip_size


@dataclass(frozen=True)
class FrameBatch:
    """Frames of one clip, and the display time of each.

    Attributes:
        data: Frames [T, H, W, 3] uint8 RGB.
        pts_seconds: Display times [T], finite and strictly increasing; any real dtype is converted to
            float64.
        end_seconds: End of the display of the last frame, at or after its start.

    Raises:
        InvalidFrames: Shapes do not match or exceed the server's limits, or times break these rules.
    """

    data: Frames
    pts_seconds: npt.NDArray[np.float64]
    end_seconds: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "pts_seconds", _as_float64(self.pts_seconds))
        is_rgb = self.data.ndim == 4 and self.data.shape[3:] == (3,) and self.data.dtype == np.uint8
        if not is_rgb or 0 in self.data.shape or self.pts_seconds.shape != self.data.shape[:1]:
            raise InvalidFrames(
                f"frames: got {self.data.dtype} {list(self.data.shape)} with pts_seconds "
                f"{list(self.pts_seconds.shape)}, expected uint8 [T, H, W, 3] with [T]"
            )
        require_clip_size("frames", self.data.shape[:3])
        _require_increasing_times(self.pts_seconds, self.end_seconds)

    def __len__(self) -> int:
        return len(self.data)


def _as_float64(pts_seconds: npt.ArrayLike) -> npt.NDArray[np.float64]:
    try:
        numbers = np.asarray(pts_seconds)
    except ValueError as error:
        raise InvalidFrames(f"pts_seconds: expected one number a frame ({error})") from error
    if numbers.dtype.kind not in "fiu":
        raise InvalidFrames(f"pts_seconds: got {numbers.dtype}, expected real numbers, best float64")
    return numbers.astype(np.float64, copy=False)


def _require_increasing_times(pts_seconds: npt.NDArray[np.float64], end_seconds: float) -> None:
    if not np.isfinite(pts_seconds).all():
        wrong = pts_seconds[~np.isfinite(pts_seconds)][0]
        raise InvalidFrames(f"pts_seconds: got {wrong}, expected finite seconds")
    steps = np.diff(pts_seconds)
    if (steps <= 0).any():
        at = int(np.argmax(steps <= 0))
        raise InvalidFrames(
            f"pts_seconds: got {pts_seconds[at + 1]:g} behind {pts_seconds[at]:g} (frame {at + 1}), expected "
            "times that rise strictly"
        )
    if not pts_seconds[-1] <= end_seconds < math.inf:
        raise InvalidFrames(
            f"end_seconds: got {end_seconds:g}, expected a finite time at or after the last frame's "
            f"{pts_seconds[-1]:g}"
        )

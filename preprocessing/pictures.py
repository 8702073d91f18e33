"""Decoded frames to the pictures that are sent: upright RGB, square pixels, at most 640 px long."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
from av.video.reformatter import VideoReformatter

from deepfake_triton.contracts import MAX_FRAME_SIDE
from deepfake_triton.preprocessing.orientation import Orientation, orientation_of


class Scaler:
    """Makes pictures of one size, which the first frame of a video decides.

    `pixel_aspect` is the width of a stored pixel over its height; a long side over `max_side` px is scaled
    down to it.
    """

    def __init__(self, pixel_aspect: Fraction, max_side: int = MAX_FRAME_SIDE) -> None:
        self.pixel_aspect = pixel_aspect
        self.max_side = max_side
        self.size: tuple[int, int] | None = None
        self.orientation = Orientation()
        # One for all frames keeps its tables; that of a frame would make them anew.
        self._reformatter: Any = VideoReformatter()

    def picture(self, frame: Any) -> npt.NDArray[np.uint8]:
        """A PyAV frame of any pixel format as [H, W, 3] uint8 RGB.

        Raises av.error.FFmpegError or ValueError for a pixel format that has no way to RGB.
        """
        if self.size is None:
            self.orientation = orientation_of(frame)
            self.size = sent_size(frame.width, frame.height, self.pixel_aspect, self.max_side)
        width, height = self.size
        shrinks = width < frame.width or height < frame.height
        scaled = self._reformatter.reformat(
            frame, width, height, "rgb24", interpolation="AREA" if shrinks else "BICUBIC"
        )
        return self.orientation.upright(scaled.to_ndarray())


def sent_size(
    stored_width: int, stored_height: int, pixel_aspect: Fraction, max_side: int = MAX_FRAME_SIDE
) -> tuple[int, int]:
    """(width, height) before turning: square pixels, long side at most `max_side`, never enlarged beyond."""
    one = Fraction(1)
    width, height = stored_width * max(pixel_aspect, one), stored_height * max(1 / pixel_aspect, one)
    scale = min(one, Fraction(max_side) / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))

"""Select the frames of a video that are analyzed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

from deepfake_triton.contracts import DEFAULT_FRAMES, MAX_FRAMES
from deepfake_triton.errors import InvalidFrames


class Sampling(Enum):
    """Sampling of a video's frames.

    Attributes:
        CONSECUTIVE: The first frames, as the published model is used.
        UNIFORM: Frames spread evenly over the video.
    """

    CONSECUTIVE = "consecutive"
    UNIFORM = "uniform"


@dataclass(frozen=True)
class FrameSelection:
    """Selection of the frames of a video that are judged: single frames, or windows of consecutive ones.

    Attributes:
        num_frames: Frames of the video, or of each window, 1…64.
        sampling: Sampling of single frames.
        windows: Number of windows, spread over the video; None: no windows.
        every_seconds: Seconds from the start of one window to that of the next; None: no windows.

    Raises:
        InvalidFrames: A value is out of range, or two exclude each other.
    """

    num_frames: int = DEFAULT_FRAMES
    sampling: Sampling = Sampling.CONSECUTIVE
    windows: int | None = None
    every_seconds: float | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.num_frames <= MAX_FRAMES:
            raise InvalidFrames(f"frames: got {self.num_frames}, expected 1…{MAX_FRAMES}")
        if self.windows is not None and self.windows < 1:
            raise InvalidFrames(f"windows: got {self.windows}, expected 1 or more")
        if self.every_seconds is not None and not 0 < self.every_seconds < math.inf:
            raise InvalidFrames(f"every_seconds: got {self.every_seconds}, expected more than 0")
        if self.windows is not None and self.every_seconds is not None:
            raise InvalidFrames("windows and every_seconds: got both, expected one of them")
        if self.has_windows and self.sampling is not Sampling.CONSECUTIVE:
            raise InvalidFrames("windows hold consecutive frames; choose windows or a sampling, not both")

    @property
    def has_windows(self) -> bool:
        """Whether windows are selected, not single frames."""
        return self.windows is not None or self.every_seconds is not None


def uniform_indices(total: int, num_frames: int) -> list[int]:
    """Return the index of the middle frame of `num_frames` equal parts of `total` frames; all if there are
    fewer."""
    if total <= num_frames:
        return list(range(total))
    return [(2 * part + 1) * total // (2 * num_frames) for part in range(num_frames)]


def window_starts(selection: FrameSelection, duration_seconds: float, frame_seconds: float) -> list[float]:
    """Return the start times of the windows in seconds, rising from 0.

    A number of `windows` is spread so that the last ends with the video. Where they would overlap, they
    follow one another instead, as many as fit.
    """
    length = selection.num_frames * frame_seconds
    if selection.every_seconds is not None:
        step = max(selection.every_seconds, length)
    elif (selection.windows or 1) == 1:
        return [0.0]
    else:
        step = max((duration_seconds - length) / ((selection.windows or 1) - 1), length)
    count = max(1, math.ceil((duration_seconds - frame_seconds / 2) / step))
    if selection.windows is not None:
        count = min(selection.windows, count)
    return [index * step for index in range(count)]

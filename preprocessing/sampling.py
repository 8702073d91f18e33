"""Which frames of a video are judged."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

from deepfake_triton.contracts import DEFAULT_FRAMES, MAX_FRAMES
from deepfake_triton.errors import InvalidFrames


class Sampling(Enum):
    """How frames are chosen: `CONSECUTIVE` from the start, as published, or `UNIFORM` over the video."""

    CONSECUTIVE = "consecutive"
    UNIFORM = "uniform"


@dataclass(frozen=True)
class FrameSelection:
    """`num_frames` (1…64) frames, chosen by `sampling`; or windows of so many consecutive frames, `windows`
    of them spread over the video, or one every `every_seconds`.

    Raises InvalidFrames on what makes no sense.
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
        """Whether more than one stretch of the video may be judged."""
        return self.windows is not None or self.every_seconds is not None


def uniform_indices(total: int, num_frames: int) -> list[int]:
    """The middle frame of each of `num_frames` equal parts of `total` frames; all where there are fewer."""
    if total <= num_frames:
        return list(range(total))
    return [(2 * part + 1) * total // (2 * num_frames) for part in range(num_frames)]


def window_starts(selection: FrameSelection, duration_seconds: float, frame_seconds: float) -> list[float]:
    """When the windows begin, in seconds, rising; the first at 0.

    `windows` of them are spread so that the last ends with the video. Where they would overlap, they follow
    one another instead, as many as there is video for.
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

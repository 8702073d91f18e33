"""Which frames of a video make up the clip that is judged."""

from __future__ import annotations

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
    """`num_frames` (1…64) frames, chosen by `sampling`. Raises InvalidFrames on another number."""

    num_frames: int = DEFAULT_FRAMES
    sampling: Sampling = Sampling.CONSECUTIVE

    def __post_init__(self) -> None:
        if not 1 <= self.num_frames <= MAX_FRAMES:
            raise InvalidFrames(f"frames: got {self.num_frames}, expected 1…{MAX_FRAMES}")


def uniform_indices(total: int, num_frames: int) -> list[int]:
    """The middle frame of each of `num_frames` equal parts of `total` frames; all where there are fewer."""
    if total <= num_frames:
        return list(range(total))
    return [(2 * part + 1) * total // (2 * num_frames) for part in range(num_frames)]

"""Whether a face shows enough for a verdict: the one place where that is said."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from deepfake_triton.preprocessing.crops import CropRule, crop_face
from deepfake_triton.preprocessing.quality import sharpness_of

_CROP = CropRule(112)
_CROPS = 5
"""So many of a face's frames say how sharp it is."""


@dataclass(frozen=True)
class EvidenceRule:
    """What a face has to show, or its verdict would be a guess.

    It is seen in at least `min_frames` frames (or in all, where the clip has fewer), its box is at least
    `min_face_px` long in the frames as they are sent, and its crop of 112 px has at least `min_sharpness`
    (see `quality`). The defaults are the edges of what the shipped weights were measured on: faces of 45 px
    and more, with a sharpness of 13 and more.
    """

    min_frames: int = 5
    min_face_px: float = 40.0
    min_sharpness: float = 10.0

    def lack(self, evidence: Evidence, num_frames: int) -> str | None:
        """Why a face in a clip of `num_frames` is not judged; None when it is."""
        if evidence.frames_observed < min(self.min_frames, num_frames):
            return "too_few_frames"
        if evidence.face_px < self.min_face_px:
            return "face_too_small"
        return "low_quality" if evidence.sharpness < self.min_sharpness else None


class Evidence(Protocol):
    """Of a face."""

    @property
    def frames_observed(self) -> int:
        """In how many frames it was seen."""
        ...

    @property
    def face_px(self) -> float:
        """The median of its box's longer side."""
        ...

    @property
    def sharpness(self) -> float:
        """The median of its crops' sharpness."""
        ...


def size_and_sharpness(
    frames: npt.NDArray[np.uint8], boxes: npt.NDArray[np.float32], seen: npt.NDArray[np.int64]
) -> tuple[float, float]:
    """`face_px` and `sharpness` of a face, in those of the frames [T, H, W, 3] uint8 RGB, with boxes
    [T, 4], in which it was `seen`."""
    sizes = np.maximum(boxes[seen, 2] - boxes[seen, 0], boxes[seen, 3] - boxes[seen, 1])
    some = np.unique(np.linspace(0, len(seen) - 1, min(_CROPS, len(seen))).round().astype(int))
    crops = [crop_face(frames[seen[index]], boxes[seen[index]], _CROP) for index in some]
    return float(np.median(sizes)), float(np.median([sharpness_of(crop) for crop in crops]))

"""Quality gate: whether a face shows enough for a verdict, and why it is rejected otherwise."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from deepfake_triton.client_defaults import MAX_BLOCKINESS, MIN_FACE_PX, MIN_FRAMES, MIN_SHARPNESS
from deepfake_triton.preprocessing.crops import CropRule, crop_face
from deepfake_triton.preprocessing.quality import blockiness_of, sharpness_of

_CROP = CropRule(112)
_SAMPLED_FRAMES = 5
"""Number of frames sampled for sharpness and blockiness."""


@dataclass(frozen=True)
class EvidenceRule:
    """Quality thresholds of a face; below them its verdict would be a guess.

    The first three defaults bound what the shipped weights were measured on: faces of 45 px and more, with a
    sharpness of 13 and more. Beyond the last one compression has left so little that real faces are taken for
    forged ones, also where the video was enlarged afterwards.

    Attributes:
        min_frames: Least frames that show the face, or all where the clip has fewer.
        min_face_px: Least longer side of its box in px, in the frames as they are sent.
        min_sharpness: Least variance of the Laplacian of its crop of 112 px.
        max_blockiness: Most visibility of compression blocks in its pixels, see `preprocessing.quality`.
    """

    min_frames: int = MIN_FRAMES
    min_face_px: float = MIN_FACE_PX
    min_sharpness: float = MIN_SHARPNESS
    max_blockiness: float = MAX_BLOCKINESS

    def rejection_reason(self, evidence: Evidence, num_frames: int, *, fragment_below: int = 0) -> str | None:
        """Return why a face in a clip of `num_frames` is not judged; None when it is. One that is seen in
        fewer than `fragment_below` frames is a fragment, see `fragment_limit`."""
        if evidence.frames_observed < max(min(self.min_frames, num_frames), fragment_below):
            return "too_few_frames"
        if evidence.face_px < self.min_face_px:
            return "face_too_small"
        shows_detail = evidence.sharpness >= self.min_sharpness and evidence.blockiness <= self.max_blockiness
        return None if shows_detail else "low_quality"

    def lack(self, evidence: Evidence, num_frames: int, scrap_below: int = 0) -> str | None:
        """Former name of `rejection_reason`."""
        return self.rejection_reason(evidence, num_frames, fragment_below=scrap_below)


def fragment_limit(most_frames: int, num_frames: int, num_windows: int) -> int:
    """Return the number of frames below which a person is a fragment: half a window, of `num_frames` in
    `num_windows`, but no more than the `most_frames` that show any person; 0 with one window.

    A fragment is somebody in the background, or a part of a person that was not linked, and must not decide a
    verdict alone. Somebody who is seen in one window and no other is judged; so is whoever is seen most.
    """
    return min(most_frames, math.ceil(num_frames / num_windows / 2)) if num_windows > 1 else 0


class Evidence(Protocol):
    """Quality measurements of one face track."""

    @property
    def frames_observed(self) -> int:
        """Number of frames that show the face."""
        ...

    @property
    def face_px(self) -> float:
        """Median of the longer side of its boxes in px."""
        ...

    @property
    def sharpness(self) -> float:
        """Median sharpness of its crops."""
        ...

    @property
    def blockiness(self) -> float:
        """Mean blockiness: codecs spare some frames."""
        ...


def size_and_sharpness(
    frames: npt.NDArray[np.uint8], boxes: npt.NDArray[np.float32], seen: npt.NDArray[np.int64]
) -> tuple[float, float]:
    """Measure `face_px` and `sharpness` of a face in frames [T, H, W, 3] uint8 RGB, with boxes [T, 4], at the
    indices `seen` of the frames that show it."""
    sizes = np.maximum(boxes[seen, 2] - boxes[seen, 0], boxes[seen, 3] - boxes[seen, 1])
    crops = [crop_face(frames[index], boxes[index], _CROP) for index in _sampled(seen)]
    return float(np.median(sizes)), float(np.median([sharpness_of(crop) for crop in crops]))


def blockiness_in(
    frames: npt.NDArray[np.uint8], boxes: npt.NDArray[np.float32], seen: npt.NDArray[np.int64]
) -> float:
    """Measure `blockiness` of a face in frames [T, H, W, 3] uint8 RGB, with boxes [T, 4], at the indices
    `seen` of the frames that show it."""
    return float(np.mean([blockiness_of(_pixels(frames[index], boxes[index])) for index in _sampled(seen)]))


def _sampled(seen: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    positions = np.linspace(0, len(seen) - 1, min(_SAMPLED_FRAMES, len(seen))).round().astype(int)
    return np.asarray(seen[np.unique(positions)], np.int64)


def _pixels(frame: npt.NDArray[np.uint8], box: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """Cut the square around a box without scaling, since interpolation would blur block edges."""
    center, half = (box[:2] + box[2:]) / 2, float(np.max(box[2:] - box[:2])) / 2
    left, top = (round(max(0.0, float(value) - half)) for value in center)
    right, bottom = (round(max(0.0, float(value) + half)) for value in center)
    return frame[top:bottom, left:right]

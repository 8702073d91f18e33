"""Find cuts in a clip by how its frames look.

The distances of descriptors were measured on 20 frames each of 18 filmed clips (also blurred, at CRF 40,
noisy, flickering) and of 180 portraits before a moving camera, concatenated to 90 pairs at one place and
size. Frames of one shot differ by up to 0.05, seconds apart 0.06; across cuts by 0.06 to 0.4, and before one
wall by 0.02 to 0.16 where consecutive frames differ by 0.009 (the median).
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from deepfake_triton.arrays import Boxes, Frames
from deepfake_triton.preprocessing.descriptors import (
    Descriptors,
    Distances,
    describe_faces,
    describe_frames,
)

SAME_SHOT_DISTANCE, MIN_CUT_DISTANCE, CUT_FACTOR = 0.065, 0.02, 2.5
"""Frames that differ by more, or by this factor times the median of consecutive frames, may have a cut
between them."""
CERTAIN_CUT_DISTANCE, NEIGHBOR_FACTOR, MAX_STEPS = 0.1, 1.5, 8
"""They have one if they differ by more than this, or than the factor times the median of frames as far apart
(up to so many frames), and times the neighboring steps: a fade or a jerked camera makes no cuts."""


@dataclass(frozen=True)
class ClipAppearance:
    """Distances [T, T] between the frames of a clip, and the descriptors of its faces, frame by frame."""

    frames: Distances
    faces: Descriptors
    first_face: npt.NDArray[np.intp]
    """Index in `faces` of the first face of each frame, [T]."""

    @functools.cached_property
    def medians(self) -> npt.NDArray[np.float64]:
        """Median distances of frames 1…MAX_STEPS frames apart, [MAX_STEPS]; 0 where there are none."""
        diagonals = [np.diagonal(self.frames, steps + 1) for steps in range(MAX_STEPS)]
        return np.array([float(np.median(distances)) if len(distances) else 0.0 for distances in diagonals])

    @property
    def same_shot_distance(self) -> float:
        """Maximum distance of frames of one shot."""
        return min(max(CUT_FACTOR * float(self.medians[0]), MIN_CUT_DISTANCE), SAME_SHOT_DISTANCE)

    def face_indices(self, frames: Sequence[int], faces: Sequence[int]) -> npt.NDArray[np.intp]:
        """Return the indices of the given `faces` of the given `frames` in `faces`."""
        indices: npt.NDArray[np.intp] = self.first_face[np.asarray(frames)] + np.asarray(faces)
        return indices


def describe_clip(frames: Frames, faces_per_frame: Sequence[Boxes]) -> ClipAppearance:
    """Describe `frames` [T, H, W, 3] uint8 RGB and the faces in each, given as boxes [N, 4] in px."""
    counts = [len(boxes) for boxes in faces_per_frame]
    return ClipAppearance(
        describe_frames(frames).distances(),
        describe_faces(frames, faces_per_frame),
        np.concatenate([[0], np.cumsum(counts)[:-1]]).astype(np.intp),
    )


def shot_indices(appearance: ClipAppearance) -> npt.NDArray[np.intp]:
    """Return the index of the shot of each frame, from 0, [T]; a flash of one frame is no cut."""
    return np.cumsum(find_cuts(appearance, np.arange(len(appearance.frames)))).astype(np.intp)


def find_cuts(
    appearance: ClipAppearance, frames: npt.NDArray[np.intp], factor: float = CUT_FACTOR
) -> npt.NDArray[np.bool_]:
    """Return whether a cut precedes each of the given frames (rising indices), comparing only those."""
    medians = appearance.medians[np.minimum(np.diff(frames), MAX_STEPS) - 1]
    limits = np.minimum(np.maximum(factor * medians, MIN_CUT_DISTANCE), CERTAIN_CUT_DISTANCE)
    return find_jumps(appearance.frames[np.ix_(frames, frames)], limits)


def cuts_between(
    appearance: ClipAppearance,
    frames: npt.NDArray[np.intp],
    factor: float = CUT_FACTOR,
    *,
    is_skipping: bool,
) -> npt.NDArray[np.bool_]:
    """Return whether a cut lies between each of the given frames (rising indices) and the one before.

    Only those are compared, or all frames of the clip where the detector `is_skipping` some.
    """
    if not is_skipping:
        return find_cuts(appearance, frames, factor)
    shots = np.cumsum(find_cuts(appearance, np.arange(len(appearance.frames)), factor))[frames]
    return np.concatenate([[False], shots[1:] != shots[:-1]])


def find_jumps(distances: Distances, limits: float | npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """Return before which of N images, with `distances` [N, N], the appearance jumps: never before the first.

    It does where the most similar pair of two images before and two after differs by more than `limits`, and
    by more than NEIGHBOR_FACTOR times the neighboring steps.
    """
    edge = [np.inf]
    one, two, three = (np.concatenate([edge, np.diagonal(distances, steps), edge]) for steps in (1, 2, 3))
    across = np.minimum(one[1:-1], np.minimum(two[:-1], two[1:])[: len(distances) - 1])
    across[1:-1] = np.minimum(across[1:-1], three[1:-1])
    before, after = (np.where(np.isinf(steps), 0, steps) for steps in (one[:-2], one[2:]))
    jumps = across > np.maximum(limits, NEIGHBOR_FACTOR * np.maximum(before, after))
    return np.concatenate([[False], jumps])

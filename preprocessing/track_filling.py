"""From the observations of a track to a box in every frame of the clip.

Where the detector gets some frames only, boxes between are interpolated: never across a cut, and never past a
detected frame in which the face was missed.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from deepfake_triton.arrays import Boxes
from deepfake_triton.preprocessing.detected_frames import FrameIndices
from deepfake_triton.preprocessing.detections import BOX_STEP_PX, round_to_step


@dataclass(frozen=True)
class FaceTrack:
    """One person through a clip of T frames: `boxes` [T, 4] in px, and whether each was `observed` [T].

    A frame between two detected ones of its shot that show the person counts as observed, at an interpolated
    box. An unobserved frame has the box of the nearest observed one, whose index `nearest` [T] gives (that of
    the frame itself where it was observed).
    """

    boxes: Boxes
    observed: npt.NDArray[np.bool_]
    nearest: npt.NDArray[np.intp]


@dataclass(frozen=True)
class ClipTimeline:
    """The frames of a clip: the `shots` [T] that they belong to, rising, and the indices of those that were
    `detected`, rising."""

    shots: npt.NDArray[np.intp]
    detected: FrameIndices

    @property
    def num_frames(self) -> int:
        """T."""
        return len(self.shots)

    @property
    def interval(self) -> int:
        """Largest distance of neighboring detected frames; 1 where all frames are detected."""
        return int(np.diff(self.detected).max(initial=1))

    @functools.cached_property
    def represented(self) -> list[int]:
        """For how many frames each frame stands, [T]: for those to which it is the nearest detected frame of
        their shot, the earlier on a tie."""
        distance = np.abs(np.arange(self.num_frames)[:, None] - self.detected)
        is_other = self.shots[:, None] != self.shots[self.detected]
        nearest = self.detected[np.argmin(distance + self.num_frames * is_other, axis=1)]
        in_shot = nearest[self.shots[nearest] == self.shots]
        return [int(count) for count in np.bincount(in_shot, minlength=self.num_frames)]

    @functools.cached_property
    def shot_sizes(self) -> list[int]:
        """Number of frames of each shot."""
        return [int(count) for count in np.bincount(self.shots)]

    @functools.cached_property
    def detected_in_shots(self) -> list[int]:
        """Number of detected frames of each shot."""
        counts = np.bincount(self.shots[self.detected], minlength=len(self.shot_sizes))
        return [int(count) for count in counts]


def fill_track(
    frames: Sequence[int], boxes: Sequence[Boxes], places: Sequence[int], *, timeline: ClipTimeline
) -> FaceTrack:
    """Interpolate between neighboring detected frames, and give all others the nearest observed box.

    `frames` are those of the observations, rising, `boxes` their boxes [4] in px; observations of different
    `places` were linked by appearance alone, and nothing is interpolated between them. The nearest box is one
    of the same shot where frames are skipped and there is one, the earlier on a tie.
    """
    order = {frame: position for position, frame in enumerate(timeline.detected.tolist())}
    filled = dict(zip(frames, boxes, strict=True))
    for index, (before, after) in enumerate(itertools.pairwise(frames)):
        are_neighbors = order[after] == order[before] + 1 and places[index] == places[index + 1]
        if are_neighbors and timeline.shots[before] == timeline.shots[after]:
            for frame in range(before + 1, after):
                parts = boxes[index] * (after - frame) + boxes[index + 1] * (frame - before)
                filled[frame] = round_to_step(parts / (after - before), BOX_STEP_PX)
    observed_frames = np.array(sorted(filled), np.intp)
    distance = np.abs(np.arange(timeline.num_frames)[:, None] - observed_frames)
    if timeline.interval > 1:
        distance += timeline.num_frames * (timeline.shots[:, None] != timeline.shots[observed_frames])
    source = np.argmin(distance, axis=1)
    observed = np.zeros(timeline.num_frames, dtype=np.bool_)
    observed[observed_frames] = True
    in_order = np.stack([filled[frame] for frame in observed_frames.tolist()])
    return FaceTrack(boxes=in_order[source], observed=observed, nearest=observed_frames[source])

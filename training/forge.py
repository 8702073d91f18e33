"""A forged twin of a video by the training recipe: every frame alike, with the recipe's own wobble."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from deepfake_triton.contracts import DETECTIONS, FRAMES
from deepfake_triton.errors import DatasetError
from deepfake_triton.export.runners import Runner
from deepfake_triton.preprocessing.detections import FaceRule, faces_in_frame
from deepfake_triton.preprocessing.tracking import tracks_from_faces
from deepfake_triton.preprocessing.video_files import TimedPicture, frames_of, write_video
from deepfake_triton.training.forgeries import ForgeryRecipe, forge_frame
from deepfake_triton.training.portraits import landmarks_of_box

Points = npt.NDArray[np.float64]

SMOOTHING_FRAMES = 2.0
"""Standard deviation over time: a mask that trembles with the detector would be a tell of its own."""


@dataclass(frozen=True)
class ForgedVideo:
    """What was written: frames in all, and how many of them show the forged face."""

    frames: int
    forged: int


def forge_video(
    video: Path,
    output: Path,
    recipe: ForgeryRecipe,
    detector: Runner,
    donor: tuple[npt.NDArray[np.uint8], Points] | None = None,
    control: Path | None = None,
) -> ForgedVideo:
    """Write the forged twin of `video`: its most shown face is forged, all else stays.

    `control` writes the untouched frames by the same encoder, so that a comparison sees the forgery and not
    the codec. Sound is left out. Raises InputError, or DatasetError when no face is found.
    """
    landmarks = landmarks_of_video(video, detector)
    count = write_video(output, _forged(video, landmarks, recipe, donor))
    if control:
        write_video(control, frames_of(video))
    return ForgedVideo(count, sum(points is not None for points in landmarks))


def landmarks_of_video(video: Path, detector: Runner) -> list[Points | None]:
    """Smoothed landmarks [5, 2] in px of the face that is seen longest, for every frame; None away from it.

    Raises DatasetError when there is no face.
    """
    boxes, candidates = [], []
    for frame in frames_of(video):
        found = detector.infer({FRAMES.name: frame.pixels[None]})[DETECTIONS.name][0]
        candidates.append(found)
        boxes.append(faces_in_frame(found, FaceRule()))
    tracks = tracks_from_faces(boxes, FaceRule())
    if not tracks:
        raise DatasetError(f"{video}: no face to forge; faces of 12 px and more are looked for")
    track = max(tracks, key=lambda each: int(each.observed.sum()))
    seen = np.flatnonzero(track.observed)
    points = np.stack([landmarks_of_box(candidates[i], track.boxes[i]) for i in seen])
    frames = np.arange(seen[0], seen[-1] + 1)
    every = np.stack([np.interp(frames, seen, column) for column in points.reshape(len(seen), 10).T], axis=1)
    smooth = _smoothed(every).reshape(-1, 5, 2)
    where = dict(zip(frames.tolist(), smooth, strict=True))
    return [where.get(index) for index in range(len(boxes))]


def _smoothed(values: Points) -> Points:
    """Each column [N] of [N, C] under a Gaussian over time; the ends repeat."""
    reach = int(3 * SMOOTHING_FRAMES)
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / SMOOTHING_FRAMES) ** 2)
    padded = np.pad(values, ((reach, reach), (0, 0)), mode="edge")
    columns = [np.convolve(column, weights / weights.sum(), mode="valid") for column in padded.T]
    return np.stack(columns, axis=1)


def _forged(
    video: Path,
    landmarks: list[Points | None],
    recipe: ForgeryRecipe,
    donor: tuple[npt.NDArray[np.uint8], Points] | None,
) -> Iterator[TimedPicture]:
    for index, (frame, points) in enumerate(zip(frames_of(video), landmarks, strict=True)):
        if points is None:
            yield frame
        else:
            yield TimedPicture(forge_frame(frame.pixels, points, recipe, index, donor), frame.pts_seconds)

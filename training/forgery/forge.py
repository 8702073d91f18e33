"""Forge a whole video: one recipe for all frames, landmarks tracked and smoothed over time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from deepfake_triton.arrays import Points
from deepfake_triton.errors import DatasetError
from deepfake_triton.models.runtimes.base import Runner
from deepfake_triton.preprocessing.detections import FaceRule, faces_in_frame
from deepfake_triton.preprocessing.tracking import tracks_from_faces
from deepfake_triton.preprocessing.video.timed_frames import TimedFrame, read_frames_with_progress
from deepfake_triton.preprocessing.video.writer import write_video
from deepfake_triton.training.faces.portraits import detect_faces, match_landmarks
from deepfake_triton.training.forgery.blending import Donor, forge_frame
from deepfake_triton.training.forgery.recipe import ForgeryRecipe

SMOOTHING_FRAMES = 2.0
"""Standard deviation over time: a mask that trembles with the detector would give the forgery away."""


@dataclass(frozen=True)
class ForgedVideo:
    """Number of `frames` written, and of those that show the forged face."""

    frames: int
    forged: int


def forge_video(
    video: Path,
    output: Path,
    recipe: ForgeryRecipe,
    *,
    detector: Runner,
    donor: Donor | None = None,
    control: Path | None = None,
) -> ForgedVideo:
    """Write the fake counterpart of `video`: the face that is visible longest is forged, all else is kept.

    `control` receives the unchanged frames through the same encoder, so that a comparison shows the forgery
    and not the codec. Sound is dropped. Raises InputError, or DatasetError when no face is found.
    """
    landmarks = track_landmarks(video, detector)
    count = write_video(output, _forge_frames(video, landmarks, recipe, donor=donor))
    if control:
        write_video(control, read_frames_with_progress(video, "control"))
    forged = sum(
        points is not None and not recipe.change_at(index).is_dropped
        for index, points in enumerate(landmarks)
    )
    return ForgedVideo(count, forged)


def track_landmarks(video: Path, detector: Runner) -> list[Points | None]:
    """Return the smoothed landmarks [5, 2] px, per frame, of the face visible longest.

    An entry is None where that face is absent. Raises DatasetError when there is no face.
    """
    boxes, candidates = [], []
    for frame in read_frames_with_progress(video, "finding the face"):
        found = detect_faces(frame.pixels, detector)
        candidates.append(found)
        boxes.append(faces_in_frame(found, FaceRule()))
    tracks = tracks_from_faces(boxes, FaceRule())
    if not tracks:
        raise DatasetError(f"{video}: no face to forge; faces of 12 px and more are looked for")
    track = max(tracks, key=lambda track: int(track.observed.sum()))
    seen = np.flatnonzero(track.observed)
    points = np.stack([match_landmarks(candidates[i], track.boxes[i]) for i in seen])
    frames = np.arange(seen[0], seen[-1] + 1)
    columns = points.reshape(len(seen), 10).T
    interpolated = np.stack([np.interp(frames, seen, column) for column in columns], axis=1)
    smooth = _smooth_over_time(interpolated).reshape(-1, 5, 2)
    by_frame = dict(zip(frames.tolist(), smooth, strict=True))
    return [by_frame.get(index) for index in range(len(boxes))]


def _smooth_over_time(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Convolve each column [N] of [N, C] with a Gaussian; the ends are repeated."""
    radius = int(3 * SMOOTHING_FRAMES)
    weights = np.exp(-0.5 * (np.arange(-radius, radius + 1) / SMOOTHING_FRAMES) ** 2)
    padded = np.pad(values, ((radius, radius), (0, 0)), mode="edge")
    columns = [np.convolve(column, weights / weights.sum(), mode="valid") for column in padded.T]
    return np.stack(columns, axis=1)


def _forge_frames(
    video: Path, landmarks: list[Points | None], recipe: ForgeryRecipe, *, donor: Donor | None
) -> Iterator[TimedFrame]:
    for index, (frame, points) in enumerate(
        zip(read_frames_with_progress(video, "forging"), landmarks, strict=True)
    ):
        if points is None:
            yield frame
        else:
            forged = forge_frame(frame.pixels, points, recipe, frame_index=index, donor=donor)
            yield TimedFrame(forged, frame.pts_seconds)

"""A verdict on top of its video: boxes and probabilities in the frames that were judged."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from deepfake_triton.client.verdict import FaceVerdict, Sighting, Verdict, VideoVerdict
from deepfake_triton.preprocessing.video_files import TimedPicture, frames_of, write_video

COLOURS = {Verdict.FAKE: (214, 48, 49), Verdict.REAL: (39, 128, 63), Verdict.INCONCLUSIVE: (127, 140, 141)}
"""RGB."""
_LONGEST_HOLD_SECONDS = 0.25
"""A box is shown for as long as its frame, or so long where the next one was not judged."""
_WHITE = (255, 255, 255)


def write_overlay(video: Path, verdict: VideoVerdict, path: Path) -> None:
    """Write the video again, without sound and at most 1920 px long, as an MP4: a box around each face where
    it was judged, with its probability there, and the verdict on top. Raises InputError."""
    write_video(path, (_drawn(frame, verdict) for frame in frames_of(video)))


def _drawn(frame: TimedPicture, verdict: VideoVerdict) -> TimedPicture:
    picture = np.ascontiguousarray(frame.pixels)
    scale = max(picture.shape[:2]) / 640
    for face, sighting, box in _shown(verdict, frame.pts_seconds):
        factor = picture.shape[1] / sighting.frame_size[0]
        left, top, right, bottom = (round(float(value) * factor) for value in box)
        decided = face.verdict or Verdict.INCONCLUSIVE
        cv2.rectangle(picture, (left, top), (right, bottom), COLOURS[decided], max(1, round(2 * scale)))
        _label(
            picture,
            f"{face.track}: {sighting.fake_probability:.2f}",
            (left, top),
            scale,
            COLOURS[decided],
        )
    text = verdict.verdict.value
    if verdict.fake_probability is not None:
        text += f" {verdict.fake_probability:.2f}"
    if verdict.model.weights == "untrained":
        text += " (untrained)"
    _label(picture, text, (0, round(22 * scale)), scale, COLOURS[verdict.verdict])
    return TimedPicture(picture, frame.pts_seconds)


def _shown(
    verdict: VideoVerdict, seconds: float
) -> Iterator[tuple[FaceVerdict, Sighting, npt.NDArray[np.float32]]]:
    """Faces in the frame shown at `seconds`, each with its box."""
    for face in verdict.faces:
        for sighting in face.sightings:
            index = int(np.searchsorted(sighting.pts_seconds, seconds + 1e-4, side="right")) - 1
            if index >= 0 and seconds - sighting.pts_seconds[index] <= _hold_s(sighting):
                yield face, sighting, sighting.boxes[index]


def _hold_s(sighting: Sighting) -> float:
    steps = np.diff(sighting.pts_seconds)
    return min(_LONGEST_HOLD_SECONDS, float(np.median(steps)) if len(steps) else 0.0) * 0.99


def _label(
    picture: npt.NDArray[np.uint8],
    text: str,
    corner: tuple[int, int],
    scale: float,
    colour: tuple[int, int, int],
) -> None:
    """White text on a ground of `colour`, above the corner, or below where there is no room."""
    size, thickness = 0.55 * scale, max(1, round(scale))
    (width, height), base = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, size, thickness)
    left = int(np.clip(corner[0], 0, max(0, picture.shape[1] - width - 4)))
    bottom = max(corner[1], height + base + 2)
    cv2.rectangle(picture, (left, bottom - height - base - 2), (left + width + 4, bottom), colour, cv2.FILLED)
    origin = (left + 2, bottom - base)
    cv2.putText(picture, text, origin, cv2.FONT_HERSHEY_SIMPLEX, size, _WHITE, thickness, cv2.LINE_AA)

"""Overlay of a verdict on its video: boxes, persons and probabilities in the frames that were judged."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from deepfake_triton.client.rendering.colors import verdict_color
from deepfake_triton.client.rendering.labels import Labels, Rectangle
from deepfake_triton.client.verdicts.verdict import FaceVerdict, Sighting, Verdict, VideoVerdict
from deepfake_triton.preprocessing.decoding.letterbox import fit_letterbox
from deepfake_triton.preprocessing.video.timed_frames import TimedFrame, read_frames_with_progress
from deepfake_triton.preprocessing.video.writer import write_video

MIN_LONG_SIDE_PX = 640
"""A smaller video is enlarged, so that its text can be read."""
_MANY_FACES = 4
"""With more faces in one frame, labels are half as large, so that they do not cover other faces."""
_MAX_HOLD_SECONDS = 0.25
"""A box is shown as long as its frame, and no longer than this where the next one was not judged."""


def write_overlay(video: Path, verdict: VideoVerdict, path: Path) -> None:
    """Write a copy of the video with its sound, as an MP4 with a long side of 640…1920 px: a box around each
    face where it was judged, with person, verdict and probability, and the video's verdict on top. Raises
    InputError."""
    write_video(
        path, (_draw(frame, verdict) for frame in read_frames_with_progress(video, "overlay")), sound=video
    )


def short_verdict(verdict: Verdict | None, reason: str | None, probability: float | None) -> str:
    """Format a verdict on a face or a video in few words, such as `FAKE 94 %` or `REAL, 17 % FAKE`."""
    if probability is None or verdict is None:
        return f"not judged ({reason})" if reason else "not judged"
    return (
        f"FAKE {_percent(probability)}"
        if verdict is Verdict.FAKE
        else (f"{verdict.value}, {_percent(probability)} FAKE")
    )


def _percent(probability: float) -> str:
    """Format a probability; never as 0 or 100 %, which would read as certain."""
    percent = round(100 * probability)
    return "<1 %" if percent < 1 else ">99 %" if percent > 99 else f"{percent} %"


def _draw(frame: TimedFrame, verdict: VideoVerdict) -> TimedFrame:
    image = _enlarge(frame.pixels)
    shown = list(_shown(verdict, frame.pts_seconds))
    size = (image.shape[1], image.shape[0])
    boxes = [
        box_in_frame(box, sent=sighting.frame_size, drawn=size, own=frame.own_size or sighting.frame_size)
        for _, sighting, box in shown
    ]
    labels = Labels(image, boxes)
    for (face, _, _), (x1, y1, x2, y2) in zip(shown, boxes, strict=True):
        color, stroke = verdict_color(face.verdict, face.reason), max(2, round(2 * labels.scale))
        cv2.rectangle(image, (x1, y1), (x2, y2), color, stroke)
    headline_color = verdict_color(verdict.verdict, verdict.reason)
    labels.add(_headline(verdict), (0, 0, 0, 0), color=headline_color)
    for (face, sighting, _), rectangle in zip(shown, boxes, strict=True):
        color = verdict_color(face.verdict, face.reason)
        label_size = 0.5 if len(shown) > _MANY_FACES else 1.0
        labels.add(_face_label(face, sighting), rectangle, color=color, size=label_size)
    return TimedFrame(image, frame.pts_seconds)


def box_in_frame(
    box: npt.NDArray[np.float32], *, sent: tuple[int, int], drawn: tuple[int, int], own: tuple[int, int]
) -> Rectangle:
    """Convert a box x1 y1 x2 y2 from px of the frame as it was `sent` to px of the frame that is `drawn`.

    All sizes are (width, height). Both frames are letterboxes of the same image of size `own`.
    """
    source, target = fit_letterbox(own, *sent), fit_letterbox(own, *drawn)
    across, down = target.width / source.width, target.height / source.height
    x1, y1, x2, y2 = (float(value) for value in box)
    return (
        round((x1 - source.left) * across) + target.left,
        round((y1 - source.top) * down) + target.top,
        round((x2 - source.left) * across) + target.left,
        round((y2 - source.top) * down) + target.top,
    )


def _enlarge(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Copy a frame to draw on, [H, W, 3] uint8 RGB, at least MIN_LONG_SIDE_PX long."""
    height, width = pixels.shape[:2]
    factor = MIN_LONG_SIDE_PX / max(height, width)
    if factor <= 1:
        return np.array(pixels)
    size = tuple(max(2, 2 * round(factor * side / 2)) for side in (width, height))
    return cv2.resize(pixels, size, interpolation=cv2.INTER_CUBIC).astype(np.uint8)


def _headline(verdict: VideoVerdict) -> str:
    headline = short_verdict(verdict.verdict, verdict.reason, verdict.fake_probability)
    return f"{headline} (untrained weights)" if verdict.model.weights == "untrained" else headline


def _face_label(face: FaceVerdict, sighting: Sighting) -> str:
    probability = face.fake_probability if face.shows_enough else None
    short = short_verdict(face.verdict, face.reason, probability)
    here = f"\nhere {_percent(sighting.fake_probability)} FAKE" if len(face.sightings) > 1 else ""
    return f"person {face.track}: {short}{here if face.shows_enough else ''}"


def _shown(
    verdict: VideoVerdict, seconds: float
) -> Iterator[tuple[FaceVerdict, Sighting, npt.NDArray[np.float32]]]:
    """Yield the faces in the frame displayed at `seconds`, with their boxes."""
    for face in verdict.faces:
        for sighting in face.sightings:
            index = int(np.searchsorted(sighting.pts_seconds, seconds + 1e-4, side="right")) - 1
            if index >= 0 and seconds - sighting.pts_seconds[index] <= _hold_s(sighting):
                yield face, sighting, sighting.boxes[index]


def _hold_s(sighting: Sighting) -> float:
    steps = np.diff(sighting.pts_seconds)
    return min(_MAX_HOLD_SECONDS, float(np.median(steps)) if len(steps) else 0.0) * 0.99

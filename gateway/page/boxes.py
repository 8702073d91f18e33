"""Boxes of the persons over time, for the player."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from deepfake_triton.client.verdicts.verdict import FaceVerdict, Sighting, VideoVerdict
from deepfake_triton.gateway.words.sentences import is_picture, person_number, reading_of
from deepfake_triton.json_object import JsonObject

_MAX_HOLD_SECONDS = 0.25
"""A box is shown as long as its frame, and no longer than this where the next one was not judged."""

_PICTURE_SECONDS = 3600.0
"""A picture has one box, for as long as it is shown."""


def boxes_of(verdict: VideoVerdict) -> list[JsonObject]:
    """Return one object for each window of each person: display times in seconds, boxes as x1 y1 x2 y2 in
    fractions of the picture, and how long the last box is shown."""
    is_one_picture = is_picture(verdict)
    return [
        {
            "person": person_number(face),
            "reading": reading_of(face, verdict.model).value,
            "seconds": seconds,
            "boxes": boxes,
            "hold_seconds": _PICTURE_SECONDS if is_one_picture else _hold_seconds(sighting),
        }
        for face in verdict.faces
        for sighting, seconds, boxes in _sightings(face)
    ]


def _sightings(face: FaceVerdict) -> Iterator[tuple[Sighting, list[float], list[list[float]]]]:
    """Yield each sighting with its times and boxes; all are rounded at once, since there may be thousands."""
    if not face.sightings:
        return
    counts = [len(sighting.pts_seconds) for sighting in face.sightings]
    sizes = np.asarray([sighting.frame_size * 2 for sighting in face.sightings], np.float64)
    boxes = np.concatenate([sighting.boxes for sighting in face.sightings]) / np.repeat(sizes, counts, axis=0)
    seconds = np.concatenate([sighting.pts_seconds for sighting in face.sightings])
    all_boxes, all_seconds = np.round(np.clip(boxes, 0, 1), 4).tolist(), np.round(seconds, 4).tolist()
    start = 0
    for sighting, count in zip(face.sightings, counts, strict=True):
        part = slice(start, start + count)
        yield sighting, all_seconds[part], all_boxes[part]
        start += count


def _hold_seconds(sighting: Sighting) -> float:
    steps = np.diff(sighting.pts_seconds)
    return round(min(_MAX_HOLD_SECONDS, float(np.median(steps)) if len(steps) else _MAX_HOLD_SECONDS), 4)

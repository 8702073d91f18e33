"""Real faces ready for forging: each cut from its photo or video with room around it, and its landmarks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from deepfake_triton.contracts import DETECTIONS, FRAMES
from deepfake_triton.errors import InputError
from deepfake_triton.export.runners import Runner
from deepfake_triton.manifest import ManifestRow
from deepfake_triton.preprocessing.detections import FaceRule, faces_in_frame
from deepfake_triton.preprocessing.sampling import FrameSelection
from deepfake_triton.preprocessing.video import decode_clip

Picture = npt.NDArray[np.uint8]
Points = npt.NDArray[np.float64]

ROOM = 0.75
"""Share of the box's longer side that is kept around it, on each side."""
LARGEST_FACE_PX = 224


@dataclass(frozen=True)
class Portrait:
    """One real face: `pixels` [H, W, 3] uint8 RGB; `box` [4] x1 y1 x2 y2 and `landmarks` [5, 2] (eyes, nose
    tip, corners of the mouth; left ones first) in px of them; `path` as in the manifest."""

    pixels: Picture
    box: Points
    landmarks: Points
    path: str
    identity: str


def landmarks_of_box(candidates: npt.NDArray[np.float32], box: Points) -> Points:
    """The five landmarks [5, 2] of the candidate [15] among [K, 15] whose box is nearest to `box`."""
    nearest = np.abs(candidates[:, :4] - box).sum(axis=1).argmin()
    return candidates[nearest, 5:].reshape(5, 2).astype(np.float64)


def portraits_of_rows(
    rows: Sequence[ManifestRow],
    base: Path,
    detector: Runner,
    on_row: Callable[[ManifestRow], None] | None = None,
) -> tuple[list[Portrait], dict[str, str]]:
    """The best face of the first frame of every real row, and the rows without one, with the reason."""
    portraits: list[Portrait] = []
    faults: dict[str, str] = {}
    for row in rows:
        if on_row:
            on_row(row)
        try:
            frame = decode_clip(base / row.path, FrameSelection(1)).frames.data[0]
        except InputError as error:
            faults[row.path] = str(error)
            continue
        candidates = detector.infer({FRAMES.name: frame[None]})[DETECTIONS.name][0]
        boxes = faces_in_frame(candidates, FaceRule())
        if not len(boxes):
            faults[row.path] = "no face"
            continue
        landmarks = landmarks_of_box(candidates, boxes[0])
        portraits.append(_cut(frame, boxes[0], landmarks, row))
    return portraits, faults


def _cut(frame: Picture, box: Points, landmarks: Points, row: ManifestRow) -> Portrait:
    side = float(max(box[2:] - box[:2]))
    low = np.maximum(np.floor(box[:2] - ROOM * side), 0).astype(int)
    high = np.minimum(np.ceil(box[2:] + ROOM * side), frame.shape[1::-1]).astype(int)
    pixels = frame[low[1] : high[1], low[0] : high[0]]
    scale = min(1.0, LARGEST_FACE_PX / side)
    if scale < 1:
        size = np.maximum(np.rint(np.array(pixels.shape[1::-1]) * scale), 1).astype(int)
        target = (int(size[0]), int(size[1]))
        pixels = np.asarray(cv2.resize(pixels, target, interpolation=cv2.INTER_AREA), np.uint8)
    return Portrait(
        pixels=np.ascontiguousarray(pixels),
        box=(box.reshape(2, 2) - low).reshape(4) * scale,
        landmarks=(landmarks - low) * scale,
        path=row.path,
        identity=row.identity,
    )

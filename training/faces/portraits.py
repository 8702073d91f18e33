"""Portraits: real faces cut from photos or videos with a margin around them, and their landmarks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import numpy.typing as npt

from deepfake_triton.arrays import Image, Points
from deepfake_triton.contracts import DETECTIONS, FRAMES
from deepfake_triton.dataset_manifest import ManifestRow
from deepfake_triton.errors import InputError
from deepfake_triton.models.face_mesh.topology import Mesh

if TYPE_CHECKING:
    from deepfake_triton.models.runtimes.base import Runner

MARGIN = 0.75
"""Margin kept on each side of a face, as a fraction of its box's longer side."""
LARGEST_FACE_PX = 224
_FEWEST_PORTRAITS = 2


@dataclass(frozen=True)
class Portrait:
    """One real face: `pixels` [H, W, 3] uint8 RGB, with a margin around it.

    `box` [4] x1 y1 x2 y2 and `landmarks` [5, 2] (eyes, nose tip, mouth corners; left ones first) are in px of
    `pixels`; `path` is that of the manifest. `mesh` [468, 3] are the points of its surface as
    `models.face_mesh` finds them, x and y in px of `pixels`, z in the same unit and smaller toward the
    camera; None where none was found.
    """

    pixels: Image
    box: npt.NDArray[np.float64]
    landmarks: Points
    path: str
    identity: str
    mesh: Mesh | None = None


def detect_faces(frame: Image, detector: Runner) -> npt.NDArray[np.float32]:
    """Return the detector's candidates [K, 15] (box, score, landmarks) in a frame [H, W, 3] uint8 RGB."""
    candidates: npt.NDArray[np.float32] = detector.infer({FRAMES.name: frame[None]})[DETECTIONS.name][0]
    return candidates


def match_landmarks(candidates: npt.NDArray[np.float32], box: npt.NDArray[np.float64]) -> Points:
    """Return the landmarks [5, 2] px of the detection whose box is nearest to `box` [4].

    `candidates` are the detections [K, 15] of a frame.
    """
    nearest = np.abs(candidates[:, :4] - box).sum(axis=1).argmin()
    return candidates[nearest, 5:].reshape(5, 2).astype(np.float64)


def extract_portraits(
    rows: Sequence[ManifestRow],
    base: Path,
    detector: Runner,
    *,
    on_row: Callable[[ManifestRow], None] | None = None,
    is_stopped: Callable[[], bool] = lambda: False,
    largest_face_px: int = LARGEST_FACE_PX,
    mesh_network: Runner | None = None,
) -> tuple[list[Portrait], dict[str, str]]:
    """Extract the best face in the first frame of every row; `base` is the folder that paths are relative to.

    Returns the portraits, and the reason for each row without one, by path. Larger faces than
    `largest_face_px` are scaled down. Once `is_stopped`, a few portraits are enough. Without `mesh_network`,
    which is that of `models.face_mesh`, the portraits have no mesh.
    """
    from deepfake_triton.models.face_mesh.finder import find_mesh
    from deepfake_triton.preprocessing.detections import FaceRule, faces_in_frame
    from deepfake_triton.preprocessing.video.clip import decode_clip
    from deepfake_triton.preprocessing.video.sampling import FrameSelection

    portraits: list[Portrait] = []
    faults: dict[str, str] = {}
    for row in rows:
        if is_stopped() and len(portraits) >= _FEWEST_PORTRAITS:
            break
        if on_row:
            on_row(row)
        try:
            frame = decode_clip(base / row.path, FrameSelection(1)).frames.data[0]
        except InputError as error:
            faults[row.path] = str(error)
            continue
        candidates = detect_faces(frame, detector)
        boxes = faces_in_frame(candidates, FaceRule())
        if not len(boxes):
            faults[row.path] = "no face"
            continue
        landmarks = match_landmarks(candidates, boxes[0])
        portrait = _cut(frame, boxes[0], landmarks, row=row, largest_px=largest_face_px)
        if mesh_network:
            portrait = replace(portrait, mesh=find_mesh(portrait.pixels, portrait.landmarks, mesh_network))
        portraits.append(portrait)
    return portraits, faults


def _cut(
    frame: Image,
    box: npt.NDArray[np.float64],
    landmarks: Points,
    *,
    row: ManifestRow,
    largest_px: int,
) -> Portrait:
    side_px = float(max(box[2:] - box[:2]))
    low = np.maximum(np.floor(box[:2] - MARGIN * side_px), 0).astype(int)
    high = np.minimum(np.ceil(box[2:] + MARGIN * side_px), frame.shape[1::-1]).astype(int)
    pixels = frame[low[1] : high[1], low[0] : high[0]]
    scale = min(1.0, largest_px / side_px)
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

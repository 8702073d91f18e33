"""Select the faces of one frame among a detector's candidates.

Boxes and scores are rounded first, so that the last bits of an engine's arithmetic decide neither what
counts as a face nor where its crop is cut.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from deepfake_triton.arrays import Boxes

BOX_STEP_PX = 1 / 8
SCORE_STEP = 1 / 1024


@dataclass(frozen=True)
class FaceRule:
    """Thresholds for candidates to count as faces and for tracks to count as people; for all detectors."""

    min_score: float = 0.5
    max_overlap: float = 0.4
    """Maximum intersection over union with a better candidate; one with more is the same face again."""
    min_side_px: float = 12.0
    max_faces: int = 8
    min_observed_share: float = 0.25
    """Minimum share of the frames of its shots in which a track is observed; one with less is dropped."""
    min_observed_frames: int = 5
    """Minimum number of frames of a track, or that share of the whole clip's frames, whichever is less."""
    min_left_out_frames: int = 2
    """Minimum number of frames for a dropped track to count as left out: one may be a false positive."""


def round_to_step(values: npt.NDArray[np.floating[Any]], step: float) -> npt.NDArray[np.float64]:
    """Round `values` to multiples of `step` (halves up); NaN and infinities become 0."""
    finite = np.where(np.isfinite(values), values, 0).astype(np.float64)
    rounded: npt.NDArray[np.float64] = np.floor(finite / step + 0.5) * step
    return rounded


def box_overlap(boxes: Boxes, others: Boxes) -> npt.NDArray[np.float64]:
    """Return the intersection over union [N, M], 0…1, of `boxes` [N, 4] with `others` [M, 4]."""
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    shared = np.prod(np.clip(high - low, 0, None), axis=2)
    union = box_area(boxes)[:, None] + box_area(others)[None, :] - shared
    overlap: npt.NDArray[np.float64] = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return overlap


def box_area(boxes: Boxes) -> npt.NDArray[np.float64]:
    """Return the areas in px² of boxes [..., 4] as x1 y1 x2 y2; 0 where a box is inverted."""
    sides = np.clip(boxes[..., 2:] - boxes[..., :2], 0, None)
    area: npt.NDArray[np.float64] = np.prod(sides, axis=-1)
    return area


def clamp_to_frame(detections: npt.NDArray[np.float32], height: int, width: int) -> npt.NDArray[np.float32]:
    """Return a copy of `detections` [..., 15] with boxes clamped to a frame of `height` × `width` px.

    Those of a detector lie inside by contract and keep their values. Rows with a NaN or an infinity in the
    box or the score become zeros.
    """
    finite = np.isfinite(detections[..., :5]).all(axis=-1, keepdims=True)
    clamped = np.where(finite, detections, np.float32(0))
    limits = np.array([width, height, width, height], np.float32)
    np.clip(clamped[..., :4], 0, limits, out=clamped[..., :4])
    return clamped


def faces_in_frame(candidates: npt.NDArray[np.float32], rule: FaceRule) -> Boxes:
    """Select the faces of one frame by score, size and greedy non-maximum suppression.

    `candidates` is [K, 15] float32 (x1 y1 x2 y2 in px, score 0…1, five landmarks in px). Returns [N, 4] boxes
    rounded to 1/8 px, best score first; equal scores keep the detector's order.
    """
    boxes = round_to_step(candidates[:, :4], BOX_STEP_PX)
    scores = round_to_step(candidates[:, 4], SCORE_STEP)
    large = np.min(boxes[:, 2:] - boxes[:, :2], axis=1) >= rule.min_side_px
    order = np.argsort(-scores, kind="stable")
    order = order[((scores >= rule.min_score) & large)[order]]
    faces: Boxes = boxes[order]
    if len(faces) < 2:
        return faces
    overlap = box_overlap(faces, faces)
    kept: list[int] = []
    for index in range(len(faces)):
        if all(overlap[index, other] <= rule.max_overlap for other in kept):
            kept.append(index)
    chosen: Boxes = faces[kept]
    return chosen

"""From a detector's candidates to the faces of one frame.

Everything here works on *quantised* numbers, so that the last bits of an engine's arithmetic decide
neither what counts as a face nor where its crop is cut.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

BOX_STEP_PX = 1 / 8
SCORE_STEP = 1 / 1024


@dataclass(frozen=True)
class FaceRule:
    """Which candidates count as faces, and which tracks as people; the same for every detector."""

    min_score: float = 0.5
    max_overlap: float = 0.4
    """Of two candidates with a larger intersection over union, the worse is the same face again."""
    min_side_px: float = 12.0
    max_faces: int = 8
    min_observed_share: float = 0.25
    """A track seen in a smaller share of the frames is dropped."""


def quantised(values: npt.NDArray[np.floating[Any]], step: float) -> npt.NDArray[np.float64]:
    """`values` rounded to multiples of `step` (halves up); NaN and infinities become 0."""
    finite = np.where(np.isfinite(values), values, 0).astype(np.float64)
    rounded: npt.NDArray[np.float64] = np.floor(finite / step + 0.5) * step
    return rounded


def box_overlap(boxes: npt.NDArray[np.float64], others: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Intersection over union of every pair: [N, 4] and [M, 4] as x1 y1 x2 y2, to [N, M] in 0…1."""
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    shared = np.prod(np.clip(high - low, 0, None), axis=2)
    union = box_area(boxes)[:, None] + box_area(others)[None, :] - shared
    overlap: npt.NDArray[np.float64] = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return overlap


def box_area(boxes: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Areas in px² of [..., 4] boxes x1 y1 x2 y2; 0 where a box is inside out."""
    sides = np.clip(boxes[..., 2:] - boxes[..., :2], 0, None)
    area: npt.NDArray[np.float64] = np.prod(sides, axis=-1)
    return area


def clamped_to_frame(detections: npt.NDArray[np.float32], height: int, width: int) -> npt.NDArray[np.float32]:
    """A copy of `detections` [..., 15] whose boxes lie inside a frame of `height` × `width` px.

    What a detector reports lies there by contract and stays as it is. Rows in which the box or the score has
    a NaN or an infinity become zeros.
    """
    finite = np.isfinite(detections[..., :5]).all(axis=-1, keepdims=True)
    clamped = np.where(finite, detections, np.float32(0))
    limits = np.array([width, height, width, height], np.float32)
    np.clip(clamped[..., :4], 0, limits, out=clamped[..., :4])
    return clamped


def faces_in_frame(candidates: npt.NDArray[np.float32], rule: FaceRule) -> npt.NDArray[np.float64]:
    """Select the faces of one frame by score, size and greedy non-maximum suppression.

    `candidates` is [K, 15] (x1 y1 x2 y2 score, landmarks; pixels). Returns [N, 4] boxes quantised to
    1/8 px, best score first; equal scores keep the detector's order.
    """
    boxes = quantised(candidates[:, :4], BOX_STEP_PX)
    scores = quantised(candidates[:, 4], SCORE_STEP)
    large = np.min(boxes[:, 2:] - boxes[:, :2], axis=1) >= rule.min_side_px
    order = np.argsort(-scores, kind="stable")
    order = order[((scores >= rule.min_score) & large)[order]]
    overlap = box_overlap(boxes, boxes)
    kept: list[int] = []
    for index in order:
        if all(overlap[index, other] <= rule.max_overlap for other in kept):
            kept.append(int(index))
    return boxes[kept]

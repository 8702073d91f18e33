"""From a box in a frame to the face crop that a model sees: the one rule for training and serving."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from deepfake_triton.contracts import DEFAULT_CROP_SIDE


@dataclass(frozen=True)
class CropRule:
    """How a checkpoint wants its faces cut.

    The crop is the square around the box's centre whose side is the box's longer one, widened on each
    side by `margin` times that length, and scaled to `side` × `side` pixels.
    """

    side: int = DEFAULT_CROP_SIDE
    margin: float = 0.0


def crop_face(
    frame: npt.NDArray[np.uint8], box: npt.NDArray[np.floating[Any]], rule: CropRule
) -> npt.NDArray[np.uint8]:
    """Cut one face: `frame` [H, W, 3] uint8, `box` x1 y1 x2 y2 in px, to [S, S, 3] uint8 in the same order.

    Sub-pixel exact. A face larger than the crop is sampled at least once a pixel and then averaged, so it
    does not alias; beyond the frame's edge the nearest pixel repeats.
    """
    x1, y1, x2, y2 = (float(value) for value in box)
    length = max(x2 - x1, y2 - y1, 1.0) * (1 + 2 * rule.margin)
    samples = max(1, math.ceil(length / rule.side))
    step = length / (rule.side * samples)
    left = (x1 + x2 - length + step - 1) / 2
    top = (y1 + y2 - length + step - 1) / 2
    sampled = cv2.warpAffine(
        frame,
        np.array([[step, 0, left], [0, step, top]]),
        (rule.side * samples, rule.side * samples),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    if samples > 1:
        sampled = cv2.resize(sampled, (rule.side, rule.side), interpolation=cv2.INTER_AREA)
    return np.asarray(sampled, dtype=np.uint8)

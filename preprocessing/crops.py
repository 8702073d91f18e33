"""The crop rule: how a face is cut out for the model, the same in training and serving."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from deepfake_triton.arrays import Image
from deepfake_triton.contracts import DEFAULT_CROP_SIDE


@dataclass(frozen=True)
class CropRule:
    """The geometry of a checkpoint's face crops.

    A crop is the square around the center of the box, as long as its longer side, extended on each side by
    `margin` times that length, and scaled to `side` × `side` px.
    """

    side: int = DEFAULT_CROP_SIDE
    margin: float = 0.0


def crop_face(frame: Image, box: npt.NDArray[np.floating[Any]], rule: CropRule) -> Image:
    """Crop the face in `box` (x1 y1 x2 y2 in px) of `frame` [H, W, 3] uint8 to [S, S, 3], channels unchanged.

    Positions are exact below a pixel. A face larger than the crop is sampled at least once per pixel and
    averaged, against aliasing; beyond the edge of the frame the nearest pixel repeats.
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

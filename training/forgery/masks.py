"""Blending masks: regions of a face, drawn around its five landmarks.

Outlines are defined in face coordinates: eyes at (-0.5, 0) and (0.5, 0), y down. An affine transform fitted
to the five landmarks maps them into the image, so that they follow roll, scale and a part of the yaw.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import cv2
import numpy as np
import numpy.typing as npt

from deepfake_triton.arrays import Points

Region = Literal["face", "brows-to-chin", "inner", "lower", "mouth", "eyes", "nose"]
REGIONS: tuple[Region, ...] = get_args(Region)

LANDMARKS = np.array([[-0.5, 0.0], [0.5, 0.0], [0.0, 0.62], [-0.42, 1.1], [0.42, 1.1]])
"""The five landmarks of an average face in face coordinates."""
_FIT = np.linalg.pinv(np.column_stack([LANDMARKS, np.ones(len(LANDMARKS))]))
_JAW = [(1.06, -0.1), (1.04, 0.35), (0.95, 0.8), (0.76, 1.25), (0.48, 1.62), (0.2, 1.8), (0.0, 1.83)]
_SUBPIXEL_BITS = 4
_FINE_SIGMA_PX = 2.5  # the smallest blur at a lower resolution


def _symmetric_outline(right: list[tuple[float, float]]) -> Points:
    """Close an outline given by its right half, from top to bottom."""
    left = [(-x, y) for x, y in reversed(right) if x > 0]
    return np.array([*right, *left])


def _ellipse(center_y: float, half_width: float, half_height: float) -> Points:
    angle = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    return np.stack([half_width * np.cos(angle), center_y + half_height * np.sin(angle)], axis=1)


OUTLINES: dict[Region, Points] = {
    "face": _symmetric_outline([(0.0, -1.0), (0.45, -0.95), (0.85, -0.65), *_JAW]),
    "brows-to-chin": _symmetric_outline([(0.0, -0.36), (0.4, -0.48), (0.85, -0.4), *_JAW]),
    "inner": _ellipse(0.52, 0.82, 1.0),
    "lower": _symmetric_outline([(0.0, 0.55), (0.6, 0.62), (0.88, 0.75), *_JAW[3:]]),
    "mouth": _ellipse(1.12, 0.62, 0.38),
    "eyes": _ellipse(-0.05, 0.95, 0.4),
    "nose": _ellipse(0.42, 0.36, 0.5),
}


@dataclass(frozen=True)
class MaskShape:
    """Shape of a blending mask, independent of the size of the face; lengths are in eye distances.

    `bend` [8, 2] displaces the outline at eight points around it, `grow` scales it around its center, `blur`
    is the standard deviation of its soft edge, and `erode` (0…1) removes what the blur added outside.
    """

    region: Region
    bend: Points
    grow: float = 1.0
    blur: float = 0.1
    erode: float = 0.0


def face_to_image_transform(landmarks: Points) -> npt.NDArray[np.float64]:
    """Fit the affine transform [2, 3] from face coordinates to an image.

    The fit is by least squares on `landmarks` [5, 2] px.
    """
    fitted: npt.NDArray[np.float64] = (_FIT @ landmarks).T
    return fitted


def eye_distance(landmarks: Points) -> float:
    """Return the unit of face coordinates in px, bounded below for faces in profile, whose eyes are close."""
    transform = face_to_image_transform(landmarks)
    return max(float(np.linalg.norm(transform[:, 0])), 0.6 * float(np.linalg.norm(transform[:, 1])), 1.0)


def draw_mask(shape: MaskShape, landmarks: Points, size: tuple[int, int]) -> npt.NDArray[np.float32]:
    """Draw the mask [H, W] float32 in 0…1 of a face at `landmarks` [5, 2] px in an image of `size` (H, W)."""
    outline = OUTLINES[shape.region]
    center = outline.mean(axis=0)
    angle = np.arctan2(*(outline - center).T[::-1]) % (2 * np.pi)
    corners = np.linspace(0, 2 * np.pi, len(shape.bend) + 1)
    bend = np.stack(
        [np.interp(angle, corners, np.append(column, column[0])) for column in shape.bend.T], axis=1
    )
    bent = center + (outline - center) * shape.grow + bend
    transform = face_to_image_transform(landmarks)
    points = bent @ transform[:, :2].T + transform[:, 2]
    mask = np.zeros(size, np.float32)
    fixed = np.rint(np.clip(points, -1e4, 1e4) * 2**_SUBPIXEL_BITS).astype(np.int32)
    cv2.fillPoly(mask, [fixed], (1.0,), cv2.LINE_8, _SUBPIXEL_BITS)
    sigma_px = shape.blur * eye_distance(landmarks)
    if sigma_px > 0.3:
        mask = _blur(mask, sigma_px)
    if shape.erode:
        mask = np.clip((mask - shape.erode) / (1 - shape.erode), 0, 1)
    return mask


def _blur(mask: npt.NDArray[np.float32], sigma_px: float) -> npt.NDArray[np.float32]:
    """Blur a mask; a wide blur works at a lower resolution, which moves no value by more than 0.01."""
    shrink = 2 ** max(0, int(np.log2(max(1.0, sigma_px / _FINE_SIGMA_PX))))
    height, width = mask.shape
    if shrink > 1:
        # Whole cells: the transform between both resolutions must be the same at each edge.
        padded = cv2.copyMakeBorder(mask, 0, -height % shrink, 0, -width % shrink, cv2.BORDER_REPLICATE)
        size = padded.shape[1] // shrink, padded.shape[0] // shrink
        small = cv2.resize(padded, size, interpolation=cv2.INTER_AREA)
        # Averaging cells and interpolating between them blurs too.
        rest = (sigma_px / shrink) ** 2 - 0.25
        small = cv2.GaussianBlur(small, (0, 0), rest**0.5)
        blurred = cv2.resize(small, padded.shape[::-1], interpolation=cv2.INTER_LINEAR)
        return np.asarray(blurred[:height, :width], np.float32)
    return np.asarray(cv2.GaussianBlur(mask, (0, 0), sigma_px), np.float32)

"""Where a forgery is blended in: regions of a face, drawn around its five landmarks.

The outlines stand in a face's own frame: eyes at (-0.5, 0) and (0.5, 0), y down. An affine map fitted to the
five landmarks carries them into the picture, so that they follow roll, scale and a part of the yaw.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import cv2
import numpy as np
import numpy.typing as npt

Points = npt.NDArray[np.float64]
Region = Literal["face", "brows-to-chin", "inner", "lower", "mouth", "eyes", "nose"]
REGIONS: tuple[Region, ...] = get_args(Region)

_LANDMARKS = np.array([[-0.5, 0.0], [0.5, 0.0], [0.0, 0.62], [-0.42, 1.1], [0.42, 1.1]])
_FIT = np.linalg.pinv(np.column_stack([_LANDMARKS, np.ones(len(_LANDMARKS))]))
_JAW = [(1.06, -0.1), (1.04, 0.35), (0.95, 0.8), (0.76, 1.25), (0.48, 1.62), (0.2, 1.8), (0.0, 1.83)]
_SUBPIXEL_BITS = 4


def _mirrored(right: list[tuple[float, float]]) -> Points:
    """A closed outline from its right half, given from the top to the bottom."""
    left = [(-x, y) for x, y in reversed(right) if x > 0]
    return np.array([*right, *left])


def _ellipse(centre_y: float, half_width: float, half_height: float) -> Points:
    angle = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    return np.stack([half_width * np.cos(angle), centre_y + half_height * np.sin(angle)], axis=1)


_OUTLINES: dict[Region, Points] = {
    "face": _mirrored([(0.0, -1.0), (0.45, -0.95), (0.85, -0.65), *_JAW]),
    "brows-to-chin": _mirrored([(0.0, -0.36), (0.4, -0.48), (0.85, -0.4), *_JAW]),
    "inner": _ellipse(0.52, 0.82, 1.0),
    "lower": _mirrored([(0.0, 0.55), (0.6, 0.62), (0.88, 0.75), *_JAW[3:]]),
    "mouth": _ellipse(1.12, 0.62, 0.38),
    "eyes": _ellipse(-0.05, 0.95, 0.4),
    "nose": _ellipse(0.42, 0.36, 0.5),
}


@dataclass(frozen=True)
class MaskShape:
    """One mask, whatever the size of the face; lengths are in distances between the eyes.

    `bend` [8, 2] moves the outline at eight points around it, `grow` scales it around its centre, `blur` is
    the standard deviation of its soft edge, and `erode` (0…1) takes off what the blur added outside.
    """

    region: Region
    bend: Points
    grow: float = 1.0
    blur: float = 0.1
    erode: float = 0.0


def face_frame(landmarks: Points) -> Points:
    """The affine map [2, 3] from a face's own frame into the picture that fits `landmarks` [5, 2] best."""
    fitted: Points = (_FIT @ landmarks).T
    return fitted


def eye_distance(landmarks: Points) -> float:
    """The unit of a face's own frame, in px; also of a face in profile, whose eyes are close together."""
    frame = face_frame(landmarks)
    return max(float(np.linalg.norm(frame[:, 0])), 0.6 * float(np.linalg.norm(frame[:, 1])), 1.0)


def draw_mask(shape: MaskShape, landmarks: Points, size: tuple[int, int]) -> npt.NDArray[np.float32]:
    """The mask [H, W] float32 in 0…1 for a picture of `size` (H, W)."""
    outline = _OUTLINES[shape.region]
    centre = outline.mean(axis=0)
    angle = np.arctan2(*(outline - centre).T[::-1]) % (2 * np.pi)
    corners = np.linspace(0, 2 * np.pi, len(shape.bend) + 1)
    bend = np.stack(
        [np.interp(angle, corners, np.append(column, column[0])) for column in shape.bend.T], axis=1
    )
    bent = centre + (outline - centre) * shape.grow + bend
    points = bent @ (frame := face_frame(landmarks))[:, :2].T + frame[:, 2]
    mask = np.zeros(size, np.float32)
    fixed = np.rint(np.clip(points, -1e4, 1e4) * 2**_SUBPIXEL_BITS).astype(np.int32)
    cv2.fillPoly(mask, [fixed], (1.0,), cv2.LINE_8, _SUBPIXEL_BITS)
    sigma = shape.blur * eye_distance(landmarks)
    if sigma > 0.3:
        mask = np.asarray(cv2.GaussianBlur(mask, (0, 0), sigma), np.float32)
    if shape.erode:
        mask = np.clip((mask - shape.erode) / (1 - shape.erode), 0, 1)
    return mask

"""Turn stills into clips: a camera moves smoothly in front of a portrait.

The motion is identical for the real clip and its fake counterpart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from deepfake_triton.arrays import Image, Points
from deepfake_triton.training.faces.portraits import Portrait
from deepfake_triton.training.forgery.aligned_square import ALIASING_SCALE

MIRRORED_ORDER = (1, 0, 2, 4, 3)
"""Landmarks of a mirrored face, the left ones first."""


@dataclass(frozen=True)
class Placement:
    """Place of a face in a frame: `face_px` is the longer side of its box, `center` its middle (x, y) in px.

    `stretch` is the ratio of width to height, and a shear.
    """

    face_px: float
    center: tuple[float, float]
    rotation_degrees: float = 0.0
    stretch: tuple[float, float] = (1.0, 0.0)
    mirrored: bool = False


@dataclass(frozen=True)
class View:
    """A portrait in one frame: `pixels` [H, W, 3] uint8 RGB, `box` [4] and `landmarks` [5, 2] in px.

    `mesh` [468, 3] are the points of the face in px of the frame, where the portrait has them.
    """

    pixels: Image
    box: npt.NDArray[np.float64]
    landmarks: Points
    mesh: npt.NDArray[np.float64] | None = None


def render_view(portrait: Portrait, matrix: npt.NDArray[np.float64], size: tuple[int, int]) -> View:
    """Render a portrait through the affine transform [2, 3] into a frame of `size` (H, W).

    Pixels at the portrait's border are repeated beyond it.
    """
    scale = matrix_scale(matrix)
    source = portrait.pixels
    if scale < ALIASING_SCALE:
        small, factor = shrink(source, scale)
        rescaled = matrix.copy()
        rescaled[:, :2] /= factor
        rescaled[:, 2] = matrix[:, 2] + 0.5 * (rescaled[:, :2].sum(axis=1) - matrix[:, :2].sum(axis=1))
        source, warp = small, rescaled
    else:
        warp = matrix
    pixels = cv2.warpAffine(source, warp, size[::-1], flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    box, landmarks = place_face(portrait, matrix)
    return View(np.asarray(pixels, np.uint8), box, landmarks, place_mesh(portrait, matrix))


def shrink(image: Image, scale: float) -> tuple[Image, npt.NDArray[np.float64]]:
    """Return `image` at about `scale` (under 1), averaged, and the exact scale [2] of x and y."""
    width, height = (max(1, round(side * scale)) for side in image.shape[1::-1])
    small = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.uint8), np.array([width / image.shape[1], height / image.shape[0]])


def matrix_scale(matrix: npt.NDArray[np.float64]) -> float:
    """Return how much larger an affine transform [2, 3] draws a length, on average over directions."""
    return float(abs(matrix[0, 0] * matrix[1, 1] - matrix[0, 1] * matrix[1, 0]) ** 0.5)


def place_face(portrait: Portrait, matrix: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], Points]:
    """Return the box [4] and landmarks [5, 2] of the portrait in the frame of an affine transform [2, 3]."""
    box = portrait.box
    center = matrix[:, :2] @ (0.5 * (box[:2] + box[2:])) + matrix[:, 2]
    half = 0.5 * (box[2:] - box[:2]) * matrix_scale(matrix)
    landmarks = portrait.landmarks @ matrix[:, :2].T + matrix[:, 2]
    return np.concatenate([center - half, center + half]), landmarks


def place_mesh(portrait: Portrait, matrix: npt.NDArray[np.float64]) -> npt.NDArray[np.float64] | None:
    """Return the mesh [468, 3] of the portrait in the frame of an affine transform [2, 3], with its depth."""
    if portrait.mesh is None:
        return None
    across = portrait.mesh[:, :2] @ matrix[:, :2].T + matrix[:, 2]
    return np.column_stack([across, portrait.mesh[:, 2] * matrix_scale(matrix)])


def view_matrix(portrait: Portrait, placement: Placement) -> npt.NDArray[np.float64]:
    """Return the affine transform [2, 3] from the portrait's pixels to a frame, for `render_view`."""
    own_center = portrait.box.reshape(2, 2).mean(axis=0)
    scale = placement.face_px / float(max(portrait.box[2:] - portrait.box[:2]))
    angle = np.deg2rad(placement.rotation_degrees)
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    ratio, shear = placement.stretch
    bend = np.array([[ratio**0.5, shear], [0, ratio**-0.5]])
    linear = scale * rotation @ bend @ np.diag([-1.0 if placement.mirrored else 1.0, 1.0])
    return np.column_stack([linear, np.array(placement.center) - linear @ own_center])


def restore_landmark_order(landmarks: Points, mirrored: bool) -> Points:
    """Put the left landmarks of [5, 2] first again after mirroring."""
    return landmarks[list(MIRRORED_ORDER)] if mirrored else landmarks


def sample_camera_path(
    rng: np.random.Generator, num_frames: int, *, face_px: float, size: tuple[int, int]
) -> list[Placement]:
    """Draw the face's placement in each frame of `size` (H, W).

    Position, size, rotation and stretch follow slow sine waves.
    """
    time = np.arange(num_frames)
    rates, phases = rng.uniform(0.05, 0.35, 6), rng.uniform(0, 2 * np.pi, 6)
    amplitudes = np.array([0.12, 0.09, 0.06, 4.0, 0.05, 0.04]) * rng.uniform(0.2, 1.0, 6)
    x, y, zoom, rotation, ratio, shear = (
        amplitudes[i] * (np.sin(phases[i] + rates[i] * time) - np.sin(phases[i])) for i in range(6)
    )
    tilt = rng.normal(0, 3)
    return [
        Placement(
            face_px=face_px * float(np.exp(zoom[i])),
            center=(size[1] / 2 + face_px * float(x[i]), size[0] / 2 + face_px * float(y[i])),
            rotation_degrees=float(tilt + rotation[i]),
            stretch=(float(np.exp(ratio[i])), float(shear[i])),
        )
        for i in range(num_frames)
    ]


def turn_path(path: Sequence[Placement], *, roll_degrees: float, mirrored: bool) -> list[Placement]:
    """Roll all placements of a path by an angle, and mirror their faces."""
    return [
        replace(place, rotation_degrees=place.rotation_degrees + roll_degrees, mirrored=mirrored)
        for place in path
    ]

"""Stills become clips: a camera moves smoothly before a portrait, alike for the real clip and its twin."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from deepfake_triton.training.portraits import Portrait

Picture = npt.NDArray[np.uint8]
Points = npt.NDArray[np.float64]


@dataclass(frozen=True)
class View:
    """A portrait as one frame shows it: `pixels` [H, W, 3] uint8, `box` [4] and `landmarks` [5, 2] in px."""

    pixels: Picture
    box: Points
    landmarks: Points


def view_of(portrait: Portrait, matrix: Points, size: tuple[int, int]) -> View:
    """The portrait under the affine map [2, 3] into a frame of `size` (H, W); the edge's pixels go on beyond
    it."""
    shrink = abs(np.linalg.det(matrix[:, :2])) ** 0.5
    source = portrait.pixels
    if shrink < 0.6:  # sampling single pixels would alias
        small = cv2.resize(source, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA)
        factor = np.array([small.shape[1] / source.shape[1], small.shape[0] / source.shape[0]])
        moved = matrix.copy()
        moved[:, :2] /= factor
        moved[:, 2] = matrix[:, 2] + 0.5 * (matrix[:, :2].sum(axis=1) - moved[:, :2].sum(axis=1))
        source, warp = np.asarray(small, np.uint8), moved
    else:
        warp = matrix
    pixels = cv2.warpAffine(source, warp, size[::-1], flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    corners = portrait.box[[0, 1, 2, 1, 2, 3, 0, 3]].reshape(4, 2)
    mapped = corners @ matrix[:, :2].T + matrix[:, 2]
    centre = mapped.mean(axis=0)
    half = 0.5 * (portrait.box[2:] - portrait.box[:2]) * abs(np.linalg.det(matrix[:, :2])) ** 0.5
    landmarks = portrait.landmarks @ matrix[:, :2].T + matrix[:, 2]
    return View(np.asarray(pixels, np.uint8), np.concatenate([centre - half, centre + half]), landmarks)


def placed(
    portrait: Portrait,
    face_px: float,
    centre: tuple[float, float],
    rotation_degrees: float = 0.0,
    stretch: tuple[float, float] = (1.0, 0.0),
    mirrored: bool = False,
) -> Points:
    """The map [2, 3] that shows the face's box `face_px` long, its middle at `centre` (x, y).

    `stretch` is the ratio of width to height, and a shear.
    """
    own = portrait.box.reshape(2, 2).mean(axis=0)
    scale = face_px / float(max(portrait.box[2:] - portrait.box[:2]))
    angle = np.deg2rad(rotation_degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    bend = np.array([[stretch[0] ** 0.5, stretch[1]], [0, stretch[0] ** -0.5]])
    linear = scale * turn @ bend @ np.diag([-1.0 if mirrored else 1.0, 1.0])
    return np.column_stack([linear, np.array(centre) - linear @ own])


def unmirrored(landmarks: Points, mirrored: bool) -> Points:
    """Landmarks with the left ones first again after a mirroring."""
    return landmarks[[1, 0, 2, 4, 3]] if mirrored else landmarks


def sampled_path(
    rng: np.random.Generator, num_frames: int, face_px: float, size: tuple[int, int]
) -> list[dict[str, float | tuple[float, float]]]:
    """Arguments of `placed` for every frame: slow waves of place, size, turn and stretch in a frame of
    `size` (H, W)."""
    time = np.arange(num_frames)
    rates, phases = rng.uniform(0.05, 0.35, 6), rng.uniform(0, 2 * np.pi, 6)
    reach = np.array([0.12, 0.09, 0.06, 4.0, 0.05, 0.04]) * rng.uniform(0.2, 1.0, 6)
    x, y, zoom, turn, ratio, shear = (
        reach[i] * (np.sin(phases[i] + rates[i] * time) - np.sin(phases[i])) for i in range(6)
    )
    tilt = rng.normal(0, 3)
    return [
        {
            "face_px": face_px * float(np.exp(zoom[i])),
            "centre": (size[1] / 2 + face_px * float(x[i]), size[0] / 2 + face_px * float(y[i])),
            "rotation_degrees": float(tilt + turn[i]),
            "stretch": (float(np.exp(ratio[i])), float(shear[i])),
        }
        for i in range(num_frames)
    ]

"""Aligned squares: a face turned upright and scaled alike, with forehead, jaw and some background."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from deepfake_triton.arrays import Image, Points
from deepfake_triton.training.forgery.masks import LANDMARKS

SQUARE_SIDE = 3.6
"""Side of an aligned square in eye distances."""
SQUARE_CENTER = np.array([0.0, 0.42])
"""Its middle (x, y) in face coordinates."""
ALIASING_SCALE = 0.6
"""A picture that is made smaller than this is averaged first: sampling single pixels would alias."""


def fit_similarity(source: Points, target: Points) -> npt.NDArray[np.float64]:
    """Fit rotation, scale and shift [2, 3] from `source` [N, 2] to `target` [N, 2] by least squares."""
    source_center, target_center = source.mean(axis=0), target.mean(axis=0)
    a = (source - source_center) @ np.array([1, 1j])
    b = (target - target_center) @ np.array([1, 1j])
    ratio = np.vdot(a, b) / max(np.vdot(a, a).real, 1e-9)
    linear = np.array([[ratio.real, -ratio.imag], [ratio.imag, ratio.real]])
    return np.column_stack([linear, target_center - linear @ source_center])


def square_transform(landmarks: Points, side_px: int) -> npt.NDArray[np.float64]:
    """Return the transform [2, 3] from an image with `landmarks` [5, 2] px to a square of `side_px`."""
    return fit_similarity(landmarks, square_landmarks(side_px))


def cut_square(image: Image, transform: npt.NDArray[np.float64], side_px: int) -> Image:
    """Sample the square [side_px, side_px, 3] of an image [H, W, 3] uint8 RGB, averaged where it shrinks.

    Pixels at the image's border are repeated beyond it.
    """
    scale = float(np.hypot(transform[0, 0], transform[1, 0]))
    if scale < ALIASING_SCALE:
        width, height = (max(1, round(side * scale)) for side in image.shape[1::-1])
        factor = np.array([width / image.shape[1], height / image.shape[0]])
        image = np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
        linear = transform[:, :2] / factor
        # Centers of pixels: the edges of both pictures meet, not the centers of their first pixels.
        shift = transform[:, 2] + 0.5 * (linear.sum(axis=1) - transform[:, :2].sum(axis=1))
        transform = np.column_stack([linear, shift])
    cut = cv2.warpAffine(
        image, transform, (side_px, side_px), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(cut, np.uint8)


def square_landmarks(side_px: int) -> Points:
    """Return where the five landmarks [5, 2] px of an average face are in a square of `side_px`."""
    places: Points = ((LANDMARKS - SQUARE_CENTER) / SQUARE_SIDE + 0.5) * side_px - 0.5
    return places


def face_coordinates(side_px: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return x [S] and y [S, 1] of a square's pixels in face coordinates."""
    along = (np.arange(side_px, dtype=np.float32) + 0.5) / side_px * SQUARE_SIDE - SQUARE_SIDE / 2
    x, y = (along + np.float32(middle) for middle in SQUARE_CENTER)
    return x, y[:, None]


def resize_square(square: Image, side_px: int) -> Image:
    """Resize a square [S, S, 3] uint8, by averaging where it shrinks."""
    if len(square) == side_px:
        return square
    how = cv2.INTER_AREA if side_px < len(square) else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(square, (side_px, side_px), interpolation=how), np.uint8)


def place_square(square: Image, transform: npt.NDArray[np.float64], size: tuple[int, int]) -> Image:
    """Draw a square [S, S, 3] uint8 RGB into an image of `size` (H, W), its border repeated around it.

    `transform` leads from the image to the square.
    """
    scale = 1 / max(float(np.hypot(transform[0, 0], transform[1, 0])), 1e-6)
    if scale < ALIASING_SCALE:
        side_px = max(2, round(len(square) * scale))
        ratio = side_px / len(square)
        square = np.asarray(cv2.resize(square, (side_px, side_px), interpolation=cv2.INTER_AREA), np.uint8)
        transform = transform * ratio
        transform[:, 2] += 0.5 * ratio - 0.5
    flags = cv2.WARP_INVERSE_MAP | cv2.INTER_CUBIC
    placed = cv2.warpAffine(square, transform, size[::-1], flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(placed, np.uint8)


def place_values(
    values: npt.NDArray[np.float32], transform: npt.NDArray[np.float64], size: tuple[int, int]
) -> npt.NDArray[np.float32]:
    """Draw smooth values [S, S] or [S, S, C] float32 of a square into an image of `size` (H, W), 0 around."""
    flags = cv2.WARP_INVERSE_MAP | cv2.INTER_LINEAR
    placed = cv2.warpAffine(values, transform, size[::-1], flags=flags, borderMode=cv2.BORDER_CONSTANT)
    return np.asarray(placed, np.float32)

"""Beauty smoothing: soften and brighten skin, and keep eyes, mouth and edges."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from deepfake_triton.arrays import Image, Points
from deepfake_triton.training.forgery.masks import (
    MaskShape,
    draw_mask,
    eye_distance,
    face_to_image_transform,
)

_MAX_MASK_PX = 56
_KEPT = ((-0.5, -0.02, 0.34, 0.2), (0.5, -0.02, 0.34, 0.2), (0.0, 1.1, 0.55, 0.24))
"""Eyes and mouth as ellipses in face coordinates: center x and y, half width, half height."""
_CHROMA_TOLERANCE, _LUMA_TOLERANCE = 14.0, 75.0
_COARSE_RADIUS_PX = 2
_VISIBLE = 0.01

_Values = npt.NDArray[np.float32]


@dataclass(frozen=True)
class SkinSmoothing:
    """Smoothing by a guided filter, as by a beauty filter of the skin or a denoiser of the whole picture.

    `amount` (0…1) is how much is blended in, `radius` in eye distances, and `edge` the contrast in gray
    levels above which an edge stays. `brighten` (0…1) lifts the skin's middle tones and `rosy` (0…255) its
    red.
    """

    amount: float
    radius: float
    edge: float
    brighten: float = 0.0
    rosy: float = 0.0
    is_whole_picture: bool = False


def sample_skin_smoothing(rng: np.random.Generator) -> SkinSmoothing:
    """Draw a smoothing from a retouched portrait to a strong beauty filter; two in five are of the whole."""
    whole = bool(rng.uniform() < 0.4)
    return SkinSmoothing(
        amount=float(rng.uniform(0.5, 1.0)),
        radius=float(rng.uniform(0.06, 0.2)),
        edge=float(np.exp(rng.uniform(np.log(6), np.log(28 if whole else 40)))),
        brighten=0.0 if whole else float(rng.uniform(0, 0.45)),
        rosy=0.0 if whole else float(rng.uniform(0, 10)),
        is_whole_picture=whole,
    )


def smooth_skin(images: Sequence[Image], smoothing: SkinSmoothing, landmarks: Points) -> list[Image]:
    """Smooth images [H, W, 3] uint8 RGB of one size; the skin is that of the first image in all of them."""
    height, width = images[0].shape[:2]
    mask = np.ones((2, 2), np.float32) if smoothing.is_whole_picture else find_skin(images[0], landmarks)
    radius_px = max(1, round(smoothing.radius * eye_distance(landmarks)))
    shrink = max(1, radius_px // _COARSE_RADIUS_PX)
    size = max(2, width // shrink), max(2, height // shrink)
    skin = cv2.merge([cv2.resize(mask, size, interpolation=cv2.INTER_LINEAR)] * 3)
    rosy = smoothing.rosy * np.array([1, 0, 0.3], np.float32)
    out = []
    for image in images:
        small = cv2.resize(image, size, interpolation=cv2.INTER_AREA).astype(np.float32)
        slope, offset = guided_filter(small, max(1, round(radius_px / shrink)), smoothing.edge)
        weight = np.float32(smoothing.amount) * skin
        lift = 1 + np.float32(smoothing.brighten) * skin * (1 - small / 255)
        slope, offset = lift * (1 + weight * (slope - 1)), lift * weight * offset + skin * rosy
        smooth = cv2.multiply(image, cv2.resize(slope, (width, height)), dtype=cv2.CV_32F)
        added = cv2.add(smooth, cv2.resize(offset, (width, height)), dtype=cv2.CV_8U)
        out.append(np.asarray(added, np.uint8))
    return out


def guided_filter(image: _Values, radius_px: int, edge: float) -> tuple[_Values, _Values]:
    """Return slope and offset [H, W, C] that smooth each channel where it deviates less than `edge`.

    The smooth picture is slope · image + offset. He & Sun, *Fast Guided Filter*, 2015: both may come from a
    picture at a lower resolution.
    """
    side = 2 * radius_px + 1
    mean = cv2.blur(image, (side, side))
    variance = np.maximum(cv2.blur(image * image, (side, side)) - mean * mean, 0)
    slope = variance / (variance + np.float32(edge**2))
    offset = mean - slope * mean
    return np.asarray(cv2.blur(slope, (side, side))), np.asarray(cv2.blur(offset, (side, side)))


def find_skin(image: Image, landmarks: Points) -> _Values:
    """Return how much each part of `image` [H, W, 3] uint8 RGB is skin of the face, in 0…1.

    The map has the image's shape at a lower resolution. Skin is what has the color of cheeks, nose and
    forehead, within the face but for eyes and mouth.
    """
    height, width = image.shape[:2]
    scale = min(1.0, _MAX_MASK_PX / max(height, width))
    size = max(4, round(width * scale)), max(4, round(height * scale))
    factor = np.array([size[0] / width, size[1] / height])
    at = (landmarks + 0.5) * factor - 0.5
    planes = cv2.cvtColor(cv2.resize(image, size, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2YCrCb)
    region = draw_mask(MaskShape("face", np.zeros((8, 2)), blur=0.1), at, size[::-1])
    region *= 1 - _draw_kept(at, size[::-1])
    inside = region > 0.7
    if not inside.any():
        return np.zeros(size[::-1], np.float32)
    luma, red, blue = (plane - np.median(plane[inside]) for plane in cv2.split(planes.astype(np.float32)))
    unlike = (red**2 + blue**2) / _CHROMA_TOLERANCE**2 + luma**2 / _LUMA_TOLERANCE**2
    skin = cv2.GaussianBlur(region * np.exp(-0.5 * unlike).astype(np.float32), (0, 0), 0.8)
    return np.where(skin > _VISIBLE, skin, 0).astype(np.float32)


def _draw_kept(landmarks: Points, size: tuple[int, int]) -> _Values:
    """Draw eyes and mouth [H, W] in 0…1, with a soft edge."""
    transform = face_to_image_transform(landmarks)
    angle = np.linspace(0, 2 * np.pi, 20, endpoint=False)
    outlines = []
    for x, y, half_width, half_height in _KEPT:
        ellipse = np.stack([x + half_width * np.cos(angle), y + half_height * np.sin(angle)], axis=1)
        points = np.clip(ellipse @ transform[:, :2].T + transform[:, 2], -1e4, 1e4)
        outlines.append(np.rint(points * 16).astype(np.int32))
    kept = np.zeros(size, np.float32)
    for outline in outlines:
        cv2.fillPoly(kept, [outline], (1.0,), cv2.LINE_8, 4)
    sigma_px = max(0.5, 0.06 * eye_distance(landmarks))
    return np.asarray(cv2.GaussianBlur(kept, (0, 0), sigma_px), np.float32)

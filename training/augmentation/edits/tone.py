"""Edits of tone: sharpening, local contrast, relighting of the face, and the looks of photo filters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from deepfake_triton.arrays import Image, Points
from deepfake_triton.training.forgery.colors import ColorJitter
from deepfake_triton.training.forgery.masks import eye_distance, face_to_image_transform

_GRID = 32  # light varies slowly: it is computed on a grid of this side
_HEAD_CENTER_Y, _HEAD_RADII = 0.3, (1.4, 1.9)  # hair included, in face coordinates
_MAX_MEASURED_PX = 64
_FLARE = 90.0  # gray levels
_DARKEST_GAIN, _BRIGHTEST_GAIN = 0.12, 2.6

_Values = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Sharpening:
    """Unsharp mask: `amount` times the difference to a blur of deviation `radius`, in eye distances."""

    amount: float
    radius: float


@dataclass(frozen=True)
class LocalContrast:
    """Local contrast amplified up to `max_gain` times, the more the flatter a neighborhood is.

    `radius` of the neighborhood is in eye distances. A smooth form of adaptive histogram equalization.
    """

    max_gain: float
    radius: float


@dataclass(frozen=True)
class Relighting:
    """Light from `angle_degrees` (0 right, 90 below) over the head, and other brightness around it.

    The gain goes from exp(-`key`) on the far side of the head to exp(`key`) on the near one, the faster the
    larger the `hardness`; `tint` [3] colors the near side. `exposure`, `background` and `vignette` are
    logarithms of gains too, and `flare` (0…1) is a veil of stray light.
    """

    angle_degrees: float
    key: float = 0.0
    hardness: float = 1.0
    exposure: float = 0.0
    background: float = 0.0
    vignette: float = 0.0
    tint: tuple[float, float, float] = (0.0, 0.0, 0.0)
    flare: float = 0.0


@dataclass(frozen=True)
class PhotoFilter:
    """Look of a photo filter: an S-curve of `contrast`, `fade`d blacks, `saturation`, and split toning.

    `shadows` and `highlights` [3] are added to dark and bright tones, in 0…255.
    """

    contrast: float = 0.0
    fade: float = 0.0
    saturation: float = 1.0
    shadows: tuple[float, float, float] = (0.0, 0.0, 0.0)
    highlights: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def curves(self) -> npt.NDArray[np.uint8]:
        """Return the three tone curves [1, 256, 3]."""
        tone = np.linspace(0, 1, 256)
        curve = tone + self.contrast * (tone * tone * (3 - 2 * tone) - tone)
        curve = 255 * (self.fade + (1 - self.fade) * curve)
        toned = curve[:, None] + np.outer((1 - tone) ** 2, self.shadows) + np.outer(tone**2, self.highlights)
        curves: npt.NDArray[np.uint8] = np.clip(np.rint(toned), 0, 255).astype(np.uint8)[None]
        return curves


def sample_sharpening(rng: np.random.Generator) -> Sharpening:
    """Draw anything from a camera's sharpening to visible halos."""
    return Sharpening(
        float(np.exp(rng.uniform(np.log(0.4), np.log(2.4)))),
        float(np.exp(rng.uniform(np.log(0.01), np.log(0.045)))),
    )


def sharpen(images: Sequence[Image], sharpening: Sharpening, landmarks: Points) -> list[Image]:
    """Sharpen images [H, W, 3] uint8 RGB."""
    sigma_px = max(0.6, sharpening.radius * eye_distance(landmarks))
    out = []
    for image in images:
        soft = cv2.GaussianBlur(image, (0, 0), sigma_px)
        sharp = cv2.addWeighted(image, 1 + sharpening.amount, soft, -sharpening.amount, 0)
        out.append(np.asarray(sharp, np.uint8))
    return out


def sample_local_contrast(rng: np.random.Generator) -> LocalContrast:
    """Draw a contrast from that of a phone's HDR to that of a heavy filter."""
    return LocalContrast(float(rng.uniform(1.3, 2.4)), float(rng.uniform(0.2, 0.8)))


def amplify_local_contrast(
    images: Sequence[Image], contrast: LocalContrast, landmarks: Points
) -> list[Image]:
    """Amplify local contrast, measured in each image by itself.

    Measured in the real face, the mean would leave the forgery's smooth change of color out, and amplify it.
    """
    return [_amplify(image, contrast, landmarks) for image in images]


def _amplify(image: Image, contrast: LocalContrast, landmarks: Points) -> Image:
    height, width = image.shape[:2]
    scale = min(1.0, _MAX_MEASURED_PX / max(height, width))
    size = max(2, round(width * scale)), max(2, round(height * scale))
    luma = cv2.cvtColor(cv2.resize(image, size, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY)
    small = luma.astype(np.float32)
    sigma_px = max(1.0, contrast.radius * eye_distance(landmarks) * scale)
    mean = cv2.GaussianBlur(small, (0, 0), sigma_px)
    deviation = cv2.GaussianBlur((small - mean) ** 2, (0, 0), sigma_px) ** 0.5
    gain = 1 + (contrast.max_gain - 1) * np.exp(-deviation / 40)
    added = np.stack([gain - 1, -(gain - 1) * mean], axis=2).astype(np.float32)
    slope, offset = cv2.split(cv2.resize(added, (width, height), interpolation=cv2.INTER_LINEAR))
    return _add(image, slope * cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) + offset)


def _add(image: Image, change: _Values) -> Image:
    """Add a change [H, W] to all three channels."""
    return np.asarray(cv2.add(image, cv2.merge([change] * 3), dtype=cv2.CV_8U), np.uint8)


def sample_relighting(rng: np.random.Generator) -> Relighting:
    """Draw side light, backlight, a lamp before a dark room, colored light, or a vignette."""
    scene, side, colored, vignetted = rng.uniform(size=4)
    hue = rng.normal(0, 1, 3)
    tint = rng.uniform(0, 0.25) * (hue - hue.mean()) / max(float(np.abs(hue).max()), 0.5)
    key, exposure, background, flare = rng.uniform(0.15, 0.7), rng.normal(0, 0.15), 0.0, 0.0
    if scene > 0.75:  # a lamp or a screen before a dark room
        key, exposure, background = rng.uniform(0, 0.3), rng.uniform(0, 0.3), -rng.uniform(0.4, 1.3)
    elif scene > 0.5:  # backlight
        key, exposure, background = rng.uniform(0, 0.25), -rng.uniform(0.2, 0.7), rng.uniform(0.4, 1.0)
        flare = rng.uniform(0, 0.25)
    return Relighting(
        # From above more often than from below.
        angle_degrees=float(
            rng.uniform(-150, -30) if side < 0.3 else rng.uniform(-50, 50) + 180 * (side > 0.65)
        ),
        key=float(key),
        hardness=float(rng.uniform(0.6, 2.0)),
        exposure=float(exposure),
        background=float(background),
        vignette=float(rng.uniform(0.2, 0.9)) if vignetted < 0.25 else 0.0,
        tint=(float(tint[0]), float(tint[1]), float(tint[2])) if colored < 0.4 else (0.0, 0.0, 0.0),
        flare=float(flare),
    )


def relight(images: Sequence[Image], light: Relighting, landmarks: Points) -> list[Image]:
    """Relight images [H, W, 3] uint8 RGB of one size."""
    height, width = images[0].shape[:2]
    gain = _gains(light, landmarks, (height, width)) * np.float32(1 - 0.6 * light.flare)
    gain = np.asarray(cv2.resize(gain, (width, height)), np.float32)
    curve = np.clip(np.arange(256) + _FLARE * light.flare, 0, 255).astype(np.uint8)
    lit = [cv2.multiply(image, gain, dtype=cv2.CV_8U) for image in images]
    return [np.asarray(cv2.LUT(image, curve) if light.flare else image, np.uint8) for image in lit]


def _gains(light: Relighting, landmarks: Points, size: tuple[int, int]) -> _Values:
    """Return the gain [G, G, 3] of each color on a grid over a picture of `size` (H, W).

    Nothing of it follows the outline of the face: it would look like a badly blended mask.
    """
    at_y, at_x = ((np.arange(_GRID) + 0.5) / _GRID * side - 0.5 for side in size)
    x, y = np.meshgrid(at_x, at_y)
    transform = face_to_image_transform(landmarks)
    face = (np.stack([x, y], axis=2) - transform[:, 2]) @ _inverse(transform[:, :2]).T
    right = face[:, :, 0] / _HEAD_RADII[0]
    below = (face[:, :, 1] - _HEAD_CENTER_Y) / _HEAD_RADII[1]
    angle = np.deg2rad(light.angle_degrees)
    toward = np.tanh(light.hardness * (np.cos(angle) * right + np.sin(angle) * below))
    # Shoulders are wider than the head.
    distance = np.hypot(right / (1 + np.clip(below - 0.6, 0, 1)), np.minimum(below, 0.6))
    background = np.clip((distance - 0.9) / 0.7, 0, 1)
    corner = 0.5 * ((2 * x / size[1] - 1) ** 2 + (2 * y / size[0] - 1) ** 2)
    change = light.exposure + light.key * toward + light.background * background - light.vignette * corner
    colored = np.array(light.tint) * (0.5 + 0.5 * toward)[:, :, None]
    gain = np.exp(change[:, :, None] + colored)
    return np.asarray(np.clip(gain, _DARKEST_GAIN, _BRIGHTEST_GAIN), np.float32)


def _inverse(linear: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Invert a transform [2, 2]; for a profile whose eyes coincide, as if they did not quite."""
    determinant = float(np.linalg.det(linear))
    widened = linear if abs(determinant) > 1 else linear + np.eye(2) * (1 + np.abs(linear).max())
    return np.asarray(np.linalg.inv(widened))


def sample_photo_filter(rng: np.random.Generator) -> PhotoFilter:
    """Draw a film look; one in eight is black and white or sepia."""
    gray = rng.uniform() < 0.125
    shadows, highlights = rng.uniform(-22, 22, 3), rng.uniform(-22, 22, 3)
    return PhotoFilter(
        contrast=float(rng.uniform(-0.5, 1.0)),
        fade=float(rng.uniform(0, 0.15)) if rng.uniform() < 0.4 else 0.0,
        saturation=0.0 if gray else float(np.exp(rng.uniform(-0.8, 0.5))),
        shadows=(float(shadows[0]), float(shadows[1]), float(shadows[2])),
        highlights=(float(highlights[0]), float(highlights[1]), float(highlights[2])),
    )


def apply_photo_filter(images: Sequence[Image], look: PhotoFilter) -> list[Image]:
    """Apply a filter's saturation and tone curves to images [H, W, 3] uint8 RGB."""
    matrix, curves = ColorJitter(saturation=look.saturation).matrix(), look.curves()
    return [np.asarray(cv2.LUT(cv2.transform(image, matrix), curves), np.uint8) for image in images]

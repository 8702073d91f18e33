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
_FACE_CENTER_Y, _FACE_RADII = 0.45, (1.1, 1.45)  # an ellipsoid, in face coordinates
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
    """Light from `angle_degrees` (0 right, 90 below) over the face, and other brightness around it.

    `key` (0…1) is the share of directional light on the face, taken for an ellipsoid; `elevation` (0…1) how
    far it comes from the camera. `exposure`, `gradient` (across the picture), `background` and `vignette` are
    logarithms of gains, `tint` [3] the color of the light, and `flare` (0…1) a veil of stray light.
    """

    angle_degrees: float
    key: float = 0.0
    elevation: float = 0.5
    exposure: float = 0.0
    gradient: float = 0.0
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
        float(np.exp(rng.uniform(np.log(0.5), np.log(3.0)))),
        float(np.exp(rng.uniform(np.log(0.01), np.log(0.06)))),
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
    """Amplify local contrast; neighborhoods and gains are measured in the first image and used in all."""
    height, width = images[0].shape[:2]
    scale = min(1.0, _MAX_MEASURED_PX / max(height, width))
    size = max(2, round(width * scale)), max(2, round(height * scale))
    luma = cv2.cvtColor(cv2.resize(images[0], size, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY)
    small = luma.astype(np.float32)
    sigma_px = max(1.0, contrast.radius * eye_distance(landmarks) * scale)
    mean = cv2.GaussianBlur(small, (0, 0), sigma_px)
    deviation = cv2.GaussianBlur((small - mean) ** 2, (0, 0), sigma_px) ** 0.5
    gain = 1 + (contrast.max_gain - 1) * np.exp(-deviation / 40)
    added = np.stack([gain - 1, -(gain - 1) * mean], axis=2).astype(np.float32)
    slope, offset = cv2.split(cv2.resize(added, (width, height), interpolation=cv2.INTER_LINEAR))
    return [_add(image, slope * cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) + offset) for image in images]


def _add(image: Image, change: _Values) -> Image:
    """Add a change [H, W] to all three channels."""
    return np.asarray(cv2.add(image, cv2.merge([change] * 3), dtype=cv2.CV_8U), np.uint8)


def sample_relighting(rng: np.random.Generator) -> Relighting:
    """Draw side light, backlight, a lamp before a dark room, colored light, or a vignette."""
    kind = rng.uniform()
    angle, elevation, tint_amount = rng.uniform(0, 360), rng.uniform(0.1, 0.8), rng.uniform(0, 0.3)
    hue = rng.normal(0, 1, 3)
    tint = tint_amount * (hue - hue.mean()) / max(float(np.abs(hue).max()), 0.5)
    colored = rng.uniform() < 0.4
    light = Relighting(
        angle_degrees=float(angle),
        elevation=float(elevation),
        exposure=float(rng.normal(0, 0.15)),
        gradient=float(rng.uniform(0, 0.5)),
        tint=(float(tint[0]), float(tint[1]), float(tint[2])) if colored else (0.0, 0.0, 0.0),
        vignette=float(rng.uniform(0.2, 0.9)) if rng.uniform() < 0.25 else 0.0,
        key=float(rng.uniform(0.3, 0.9)),
    )
    if kind < 0.5:
        return light
    if kind < 0.75:  # backlight
        changes = {"background": rng.uniform(0.4, 1.0), "exposure": rng.uniform(-1.0, -0.3)}
        return _replace(light, {**changes, "flare": rng.uniform(0, 0.25), "key": rng.uniform(0, 0.3)})
    changes = {"background": rng.uniform(-1.3, -0.4), "exposure": rng.uniform(0.0, 0.3)}
    return _replace(light, {**changes, "key": rng.uniform(0.2, 0.5)})


def _replace(light: Relighting, changes: dict[str, float]) -> Relighting:
    return Relighting(**{**vars(light), **{name: float(value) for name, value in changes.items()}})


def relight(images: Sequence[Image], light: Relighting, landmarks: Points) -> list[Image]:
    """Relight images [H, W, 3] uint8 RGB of one size."""
    height, width = images[0].shape[:2]
    gain = _gains(light, landmarks, (height, width)) * np.float32(1 - 0.6 * light.flare)
    gain = np.asarray(cv2.resize(gain, (width, height)), np.float32)
    curve = np.clip(np.arange(256) + _FLARE * light.flare, 0, 255).astype(np.uint8)
    lit = [cv2.multiply(image, gain, dtype=cv2.CV_8U) for image in images]
    return [np.asarray(cv2.LUT(image, curve) if light.flare else image, np.uint8) for image in lit]


def _gains(light: Relighting, landmarks: Points, size: tuple[int, int]) -> _Values:
    """Return the gain [G, G, 3] of each color on a grid over a picture of `size` (H, W)."""
    at_y, at_x = ((np.arange(_GRID) + 0.5) / _GRID * side - 0.5 for side in size)
    x, y = np.meshgrid(at_x, at_y)
    transform = face_to_image_transform(landmarks)
    face = np.stack([x, y], axis=2) - transform[:, 2]
    face = face @ _inverse(transform[:, :2]).T
    normal_x = face[:, :, 0] / _FACE_RADII[0]
    normal_y = (face[:, :, 1] - _FACE_CENTER_Y) / _FACE_RADII[1]
    squared = normal_x**2 + normal_y**2
    normal_z = np.sqrt(np.clip(1 - squared, 0.02, 1))
    inside = np.clip(1.6 - 1.25 * squared, 0, 1)
    angle = np.deg2rad(light.angle_degrees)
    flat = np.sqrt(1 - light.elevation**2)
    toward = np.cos(angle) * normal_x + np.sin(angle) * normal_y
    shade = np.clip((flat * toward + light.elevation * normal_z) / (0.4 + 0.6 * light.elevation), 0, 1.6)
    on_face = 1 - light.key + light.key * shade
    across = np.cos(angle) * (2 * x / size[1] - 1) + np.sin(angle) * (2 * y / size[0] - 1)
    corner = 0.5 * ((2 * x / size[1] - 1) ** 2 + (2 * y / size[0] - 1) ** 2)
    around = np.exp(light.background * (1 - inside) + light.gradient * across - light.vignette * corner)
    gain = np.exp(light.exposure) * around * (inside * on_face + 1 - inside)
    lit = np.clip(inside * shade + 1 - inside, 0, 1)[:, :, None]
    colored = gain[:, :, None] * (1 + np.array(light.tint) * lit)
    return np.asarray(np.clip(colored, _DARKEST_GAIN, _BRIGHTEST_GAIN), np.float32)


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

"""Re-rendered mouths: the lower face redrawn with other lips, as lip-sync methods do, without a border."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from deepfake_triton.arrays import Image
from deepfake_triton.training.forgery.aligned_square import SQUARE_SIDE, face_coordinates, square_landmarks
from deepfake_triton.training.forgery.masks import MaskShape, draw_mask
from deepfake_triton.training.forgery.regeneration import match_at_the_rim, redraw
from deepfake_triton.training.forgery.regenerators.specs import REGENERATORS, RegeneratorName

_Values = npt.NDArray[np.float32]

_MOUTH_Y, _MOUTH_HALF_WIDTH = 1.12, 0.4  # in face coordinates
_DARK, _TEETH = np.array([58, 24, 22], np.float32), np.array([206, 192, 178], np.float32)
_LOWEST_EYE_Y = 0.4  # what is above is never rendered: a re-rendered mouth leaves the eyes alone


@dataclass(frozen=True)
class MouthRendering:
    """How a mouth is rendered; lengths are in eye distances.

    Lips are opened by `opening` (closed further below 0) and widened by the part `widening`; between them are
    a dark mouth and `teeth` of an opacity in 0…1, softened with a standard deviation of `softness`. `network`
    then redraws the lower face.
    """

    network: RegeneratorName
    opening: float
    widening: float
    teeth: float
    softness: float


def sample_mouth_rendering(rng: np.random.Generator, strength: float) -> MouthRendering:
    """Draw a mouth; two in three are opened."""
    opening = rng.uniform(0.05, 0.3) if rng.random() < 0.66 else -rng.uniform(0.05, 0.2)
    return MouthRendering(
        network=REGENERATORS[int(rng.integers(len(REGENERATORS)))],
        opening=strength * float(opening),
        widening=strength * float(rng.normal(0, 0.12)),
        teeth=float(rng.uniform(0, 0.9)),
        softness=float(rng.uniform(0.01, 0.04)),
    )


def render_mouth_square(
    face: Image, rendering: MouthRendering, mask: MaskShape, *, noise_rng: np.random.Generator
) -> tuple[Image, _Values]:
    """Render the mouth of an aligned square [S, S, 3] uint8 RGB; returns a square and its weights [S, S]."""
    side_px = len(face)
    weights = draw_mask(mask, square_landmarks(side_px), (side_px, side_px))
    _, y = face_coordinates(side_px)
    weights = weights * np.clip((y - _LOWEST_EYE_Y) / 0.15, 0, 1)
    moved = _soften_mouth(_move_lips(face, rendering), rendering.softness)
    if rendering.opening > 0:
        moved = _fill_mouth(moved, rendering)
    redrawn = redraw(moved, rendering.network, noise=0.0, noise_rng=noise_rng)
    return match_at_the_rim(redrawn, face, weights), weights


def open_by(rendering: MouthRendering, amount: float) -> MouthRendering:
    """Return the rendering with its mouth opened by `amount` eye distances more: lips that speak."""
    return replace(rendering, opening=rendering.opening + amount)


def _lens(side_px: int) -> tuple[_Values, _Values, _Values]:
    """Return x [S], y [S, 1] from the mouth's middle, and the part [S] of the opening over its width."""
    x, y = face_coordinates(side_px)
    return x, y - np.float32(_MOUTH_Y), np.sqrt(np.clip(1 - (x / _MOUTH_HALF_WIDTH) ** 2, 0, 1))


def _move_lips(face: Image, rendering: MouthRendering) -> Image:
    side_px = len(face)
    x, y, lens = _lens(side_px)
    height = np.float32(abs(rendering.opening))
    if rendering.opening > 0:
        # Below the line between the lips the jaw moves along, and above it little does.
        up, down = 0.35 * height * lens, 0.65 * height * lens
        reach = np.exp(-((y / np.where(y > 0, 0.5, 0.25)) ** 2) / 2)
        moved_y = np.where(y > 0, np.maximum(y - down * reach, 0), np.minimum(y + up * reach, 0))
    else:
        moved_y = y * (1 + 2.5 * height * lens * np.exp(-((y / 0.16) ** 2)))
    near = np.exp(-(x**2) / (2 * 0.35**2) - y**2 / (2 * 0.3**2))
    moved_x = x * (1 - np.float32(rendering.widening) * near)
    unit_px = side_px / SQUARE_SIDE
    at = np.arange(side_px, dtype=np.float32)
    moved = cv2.remap(
        face,
        np.asarray(at + unit_px * (moved_x - x), np.float32),
        np.asarray(at[:, None] + unit_px * (moved_y - y), np.float32),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return np.asarray(moved, np.uint8)


def _soften_mouth(face: Image, softness: float) -> Image:
    x, y, _ = _lens(len(face))
    soft = cv2.GaussianBlur(face, (0, 0), softness * len(face) / SQUARE_SIDE + 0.3).astype(np.float32)
    weights = np.clip(1.4 - np.hypot(x / 0.45, y / 0.28), 0, 1)[:, :, None]
    return np.asarray(face + weights * (soft - face) + 0.5, np.uint8)


def _fill_mouth(face: Image, rendering: MouthRendering) -> Image:
    """Paint the dark of an open mouth and a blurred row of teeth, as bright as the face is."""
    side_px = len(face)
    _, y, lens = _lens(side_px)
    top, bottom = -0.35 * rendering.opening * lens, 0.65 * rendering.opening * lens
    light = float(face[side_px // 3 : side_px * 2 // 3, side_px // 3 : side_px * 2 // 3].mean()) / 140
    # Shades fall off within the blur of the lips, of at least a pixel.
    soft = np.float32(max(rendering.softness, SQUARE_SIDE / side_px))
    dark = np.clip((y - top) / soft, 0, 1) * np.clip((bottom - y) / soft, 0, 1)
    teeth = np.clip((y - top) / soft, 0, 1) * np.clip((0.6 * top + 0.4 * bottom - y) / soft + 1, 0, 1)
    colored = face.astype(np.float32)
    for weights, color in ((0.85 * dark, _DARK), (rendering.teeth * teeth * dark, _TEETH)):
        colored += weights[:, :, None] * (np.clip(light, 0.3, 1.2) * color - colored)
    return np.asarray(np.clip(np.rint(colored), 0, 255), np.uint8)

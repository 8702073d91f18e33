"""What all kinds of forgery share: the donor, the frame that is forged, and the layer put over it."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from deepfake_triton.arrays import Image, Points
from deepfake_triton.training.forgery.recipe import ForgeryRecipe, FrameChange


@dataclass(frozen=True)
class Donor:
    """Another person's face for a swap: `image` [H, W, 3] uint8 RGB and its `landmarks` [5, 2] in px."""

    image: Image
    landmarks: Points


@dataclass(frozen=True)
class ForgedFrame:
    """A recipe in one frame, the `index`-th of a clip."""

    recipe: ForgeryRecipe
    change: FrameChange
    index: int

    @property
    def opacity(self) -> float:
        """How much of the forged face is blended in, in 0…1."""
        opacity = float(np.clip(self.recipe.opacity * (1 - 0.15 * abs(self.change.waves[7])), 0, 1))
        return opacity if self.change.faults is None else opacity * self.change.faults.opacity

    @property
    def fault_gain(self) -> npt.NDArray[np.float64]:
        """Color gain [3] of this frame's faults."""
        return np.ones(3) if self.change.faults is None else np.array(self.change.faults.gain)


@dataclass(frozen=True)
class ForgedLayer:
    """Forged pixels over a `window` (rows, columns) of an image.

    `source` [h, w, 3] uint8 RGB is blended in by `weight` [h, w] float32 in 0…1.
    """

    window: tuple[slice, slice]
    source: Image
    weight: npt.NDArray[np.float32]


def add_artifacts(source: Image, recipe: ForgeryRecipe, *, unit_px: float, frame_index: int) -> Image:
    """Add what generators leave: lower resolution, a checkerboard pattern, other sharpness and noise."""
    height, width = source.shape[:2]
    if recipe.face_px is not None and recipe.face_px < 0.95 * unit_px:
        ratio = recipe.face_px / unit_px
        small = (max(4, round(width * ratio)), max(4, round(height * ratio)))
        low = cv2.resize(source, small, interpolation=cv2.INTER_AREA)
        source = np.asarray(cv2.resize(low, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)
    changed: npt.NDArray[np.float32] | None = None
    if recipe.checkerboard:
        x, y = np.arange(width), np.arange(height)[:, None]
        squares = (((x + y) % 2) * 2 - 1).astype(np.float32)[:, :, None]
        changed = source + np.float32(recipe.checkerboard / 2) * squares
    if recipe.sharpen:
        soft = cv2.GaussianBlur(source, (0, 0), 0.025 * unit_px + 0.4).astype(np.float32)
        changed = (source if changed is None else changed) + recipe.sharpen * (source - soft)
    if recipe.noise:
        rng = np.random.default_rng([recipe.seed, frame_index])
        noise = recipe.noise * rng.standard_normal(source.shape, np.float32)
        changed = (source if changed is None else changed) + noise
    if changed is None:
        return source
    return np.clip(np.rint(changed), 0, 255).astype(np.uint8)

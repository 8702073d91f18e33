"""Changes of a picture's colours: one affine map of RGB and a curve, and a transfer between faces."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

Picture = npt.NDArray[np.uint8]
_LUMA = np.array([0.299, 0.587, 0.114])


@dataclass(frozen=True)
class ColourChange:
    """`gain` and `offset` (of 0…255) per channel, `saturation` around grey, and a `gamma` curve."""

    gain: tuple[float, float, float] = (1.0, 1.0, 1.0)
    offset: tuple[float, float, float] = (0.0, 0.0, 0.0)
    saturation: float = 1.0
    gamma: float = 1.0

    def matrix(self) -> npt.NDArray[np.float64]:
        """Gain, offset and saturation as one affine map [3, 4] of RGB."""
        mix = self.saturation * np.eye(3) + (1 - self.saturation) * np.tile(_LUMA, (3, 1))
        return np.column_stack([mix * np.array(self.gain), mix @ np.array(self.offset)])


def sampled_colour_change(rng: np.random.Generator, strength: float) -> ColourChange:
    """A random change; at a strength of 1 the channels move by up to 20 of 255 and 15 %."""
    s = strength
    common = rng.uniform(-0.12, 0.12)
    red, green, blue = (1 + s * (common + rng.uniform(-0.08, 0.08)) for _ in range(3))
    shifts = [s * float(rng.uniform(-16, 16)) for _ in range(3)]
    return ColourChange(
        gain=(red, green, blue),
        offset=(shifts[0], shifts[1], shifts[2]),
        saturation=float(np.exp(s * rng.uniform(-0.3, 0.3))),
        gamma=float(np.exp(s * rng.uniform(-0.18, 0.18))),
    )


def changed_colours(picture: Picture, change: ColourChange) -> Picture:
    """`picture` [H, W, 3] uint8 RGB with the change applied."""
    moved = cv2.transform(picture, change.matrix())
    if change.gamma == 1:
        return np.asarray(moved, np.uint8)
    curve = np.rint(255 * (np.arange(256) / 255) ** change.gamma).astype(np.uint8)
    return np.asarray(cv2.LUT(moved, curve), np.uint8)


def transferred_colours(source: Picture, like: Picture, mask: npt.NDArray[np.float32]) -> Picture:
    """`source` with the mean and the spread of `like`'s channels inside the mask, both [H, W, 3] uint8.

    After Reinhard et al., *Color Transfer between Images*, 2001, in Lab.
    """
    inside = mask > 0.5
    if inside.sum() < 16:
        return source
    source_lab, like_lab = (cv2.cvtColor(p, cv2.COLOR_RGB2LAB).astype(np.float32) for p in (source, like))
    mean, spread = source_lab[inside].mean(axis=0), source_lab[inside].std(axis=0) + 1
    wanted_mean, wanted_spread = like_lab[inside].mean(axis=0), like_lab[inside].std(axis=0) + 1
    gain = np.clip(wanted_spread / spread, 0.5, 2.0)
    moved = np.clip((source_lab - mean) * gain + wanted_mean, 0, 255).astype(np.uint8)
    return np.asarray(cv2.cvtColor(moved, cv2.COLOR_LAB2RGB), np.uint8)

"""Color jitter as one affine transform of RGB plus a gamma curve, and color transfer between two faces."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from deepfake_triton.arrays import Image

_LUMA = np.array([0.299, 0.587, 0.114])
_MIN_TRANSFER_PIXELS = 16
_MEASURED_PIXELS = 4096


@dataclass(frozen=True)
class ColorJitter:
    """Color change of an image.

    Per-channel `gain` and `offset` (in 0…255), `saturation` around gray (1 keeps it), and a `gamma` curve.
    """

    gain: tuple[float, float, float] = (1.0, 1.0, 1.0)
    offset: tuple[float, float, float] = (0.0, 0.0, 0.0)
    saturation: float = 1.0
    gamma: float = 1.0

    def matrix(self) -> npt.NDArray[np.float64]:
        """Return gain, offset and saturation as one affine transform [3, 4] of RGB."""
        mix = self.saturation * np.eye(3) + (1 - self.saturation) * np.tile(_LUMA, (3, 1))
        return np.column_stack([mix * np.array(self.gain), mix @ np.array(self.offset)])


def sample_color_jitter(rng: np.random.Generator, strength: float) -> ColorJitter:
    """Draw a color jitter; at a strength of 1, channels shift by up to 16 of 255 and scale by up to 20 %."""
    s = strength
    common = rng.uniform(-0.12, 0.12)
    red, green, blue = (1 + s * (common + rng.uniform(-0.08, 0.08)) for _ in range(3))
    shifts = [s * float(rng.uniform(-16, 16)) for _ in range(3)]
    return ColorJitter(
        gain=(red, green, blue),
        offset=(shifts[0], shifts[1], shifts[2]),
        saturation=float(np.exp(s * rng.uniform(-0.3, 0.3))),
        gamma=float(np.exp(s * rng.uniform(-0.18, 0.18))),
    )


def apply_color_jitter(image: Image, jitter: ColorJitter) -> Image:
    """Return a copy of `image` [H, W, 3] uint8 RGB with the jitter applied."""
    transformed = cv2.transform(image, jitter.matrix())
    if jitter.gamma == 1:
        return np.asarray(transformed, np.uint8)
    curve = np.rint(255 * (np.arange(256) / 255) ** jitter.gamma).astype(np.uint8)
    return np.asarray(cv2.LUT(transformed, curve), np.uint8)


def transfer_colors(source: Image, reference: Image, mask: npt.NDArray[np.float32]) -> Image:
    """Give `source` the mean and standard deviation of the reference's Lab channels inside the mask.

    Both images are [H, W, 3] uint8 RGB, the mask [H, W] in 0…1. After Reinhard et al., *Color Transfer
    between Images*, 2001.
    """
    sampled = _sampling(mask.size)
    inside = (mask[sampled] > 0.5).astype(np.uint8)
    if np.count_nonzero(inside) < _MIN_TRANSFER_PIXELS:
        return source
    source_lab = cv2.cvtColor(source, cv2.COLOR_RGB2LAB)
    reference_lab = cv2.cvtColor(np.ascontiguousarray(reference[sampled]), cv2.COLOR_RGB2LAB)
    mean, std = cv2.meanStdDev(np.ascontiguousarray(source_lab[sampled]), mask=inside)
    target_mean, target_std = cv2.meanStdDev(reference_lab, mask=inside)
    gain = np.clip((target_std + 1) / (std + 1), 0.5, 2.0)
    curves = np.clip((np.arange(256) - mean) * gain + target_mean, 0, 255).astype(np.uint8)
    transferred = cv2.LUT(source_lab, np.ascontiguousarray(curves.T)[None])
    return np.asarray(cv2.cvtColor(transferred, cv2.COLOR_LAB2RGB), np.uint8)


def _sampling(pixels: int) -> tuple[slice, slice]:
    """Return the rows and columns that mean and deviation are measured on: some thousand pixels suffice."""
    step = max(1, int((pixels / _MEASURED_PIXELS) ** 0.5))
    return slice(None, None, step), slice(None, None, step)

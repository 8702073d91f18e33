"""Motion blur and defocus as one kernel, sized relative to the picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from deepfake_triton.arrays import Image

MAX_LENGTH = 0.06
"""Longest drawn path: a face fills about three quarters of a view, so about 8 % of the face."""
_MAX_DEFOCUS = 0.012
_MAX_BEND_DEGREES = 70.0
_POINTS_PER_PX = 4
_DISK_OVERSAMPLING = 5

_Kernel = npt.NDArray[np.float32]


@dataclass(frozen=True)
class MotionBlur:
    """Blur by a path of the camera while the shutter is open, and by a lens out of focus.

    `length` of the path and `defocus` (radius of the disk) are fractions of the picture's longer side. The
    path leaves at `angle_degrees` (0 to the right, 90 down) and turns by `bend_degrees` until its end.
    """

    length: float
    angle_degrees: float = 0.0
    bend_degrees: float = 0.0
    defocus: float = 0.0

    def kernel(self, longer_side_px: float) -> _Kernel:
        """Return the kernel [K, K] float32, of odd side and of sum 1, for a picture of that longer side."""
        kernel = motion_kernel(self.length * longer_side_px, self.angle_degrees, self.bend_degrees)
        radius_px = self.defocus * longer_side_px
        return _combine(kernel, disk_kernel(radius_px)) if radius_px > 0 else kernel

    def scaled(self, factor: float) -> MotionBlur:
        """Return a blur whose path and disk are `factor` times as large."""
        return replace(self, length=factor * self.length, defocus=factor * self.defocus)


def sample_motion_blur(rng: np.random.Generator) -> MotionBlur:
    """Draw a path of up to 6 % of the picture in any direction; half are curved, a third out of focus."""
    return MotionBlur(
        length=float(np.exp(rng.uniform(np.log(0.006), np.log(MAX_LENGTH)))),
        angle_degrees=float(rng.uniform(0, 180)),
        bend_degrees=float(rng.uniform(-1, 1)) * _MAX_BEND_DEGREES if rng.uniform() < 0.5 else 0.0,
        defocus=float(rng.uniform(0.003, _MAX_DEFOCUS)) if rng.uniform() < 1 / 3 else 0.0,
    )


def blur_motion(images: Sequence[Image], blur: MotionBlur) -> list[Image]:
    """Blur images [H, W, 3] uint8 RGB of one size; none of them moves."""
    kernel = blur.kernel(max(images[0].shape[:2]))
    if kernel.size == 1:
        return list(images)
    return [
        np.asarray(cv2.filter2D(image, -1, kernel, borderType=cv2.BORDER_REPLICATE), np.uint8)
        for image in images
    ]


def motion_kernel(length_px: float, angle_degrees: float, bend_degrees: float = 0.0) -> _Kernel:
    """Return the kernel [K, K] of a path of `length_px` around its center of mass."""
    if length_px <= 0:
        return np.ones((1, 1), np.float32)
    count = max(2, int(np.ceil(_POINTS_PER_PX * length_px)))
    along = (np.arange(count) + 0.5) / count
    heading = np.deg2rad(angle_degrees + bend_degrees * (along - 0.5))
    steps = length_px / count * np.stack([np.cos(heading), np.sin(heading)], axis=1)
    points = np.cumsum(steps, axis=0)
    return _splat(points - points.mean(axis=0))


def disk_kernel(radius_px: float) -> _Kernel:
    """Return the kernel [K, K] of a lens out of focus: a disk with partly covered pixels at its edge."""
    half = int(np.ceil(radius_px + 0.5))
    fine = (np.arange((2 * half + 1) * _DISK_OVERSAMPLING) + 0.5) / _DISK_OVERSAMPLING - half - 0.5
    inside = (fine[:, None] ** 2 + fine**2 <= max(radius_px, 0.3) ** 2).astype(np.float32)
    cells = inside.reshape(2 * half + 1, _DISK_OVERSAMPLING, 2 * half + 1, _DISK_OVERSAMPLING)
    disk = cells.mean(axis=(1, 3))
    return np.asarray(disk / disk.sum(), np.float32)


def _splat(points: npt.NDArray[np.float64]) -> _Kernel:
    """Share each point [N, 2] (x, y) among the four pixels around it."""
    half = int(np.ceil(np.abs(points).max())) + 1
    side = 2 * half + 1
    low = np.floor(points).astype(int)
    rest = points - low
    kernel = np.zeros(side * side)
    for dx in (0, 1):
        for dy in (0, 1):
            weight = np.abs(1 - dx - rest[:, 0]) * np.abs(1 - dy - rest[:, 1])
            at = (low[:, 1] + dy + half) * side + low[:, 0] + dx + half
            kernel += np.bincount(at, weight, minlength=side * side)
    return (kernel / len(points)).reshape(side, side).astype(np.float32)


def _combine(first: _Kernel, second: _Kernel) -> _Kernel:
    """Return the kernel that does what both do one after the other."""
    margin = second.shape[0] // 2
    padded = cv2.copyMakeBorder(first, margin, margin, margin, margin, cv2.BORDER_CONSTANT, value=(0.0,))
    return np.asarray(cv2.filter2D(padded, -1, second, borderType=cv2.BORDER_CONSTANT), np.float32)

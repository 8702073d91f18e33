"""Measure the quality of face crops: sharpness, and the artifacts of codecs."""

from __future__ import annotations

import math

import cv2
import numpy as np
import numpy.typing as npt

from deepfake_triton.arrays import Image

Gray = npt.NDArray[np.float32]

_MEASURED_PX = 112
"""Models see no more of a face, so that finer blocks do no harm."""
_MIN_PX = 16
_SCALES = (0.9, 0.7)
"""Blocks that were enlarged or smoothed show at these scales, noise of a camera does not."""
_DIAGONAL, _COARSE_DIAGONAL, _COARSE, _SPARSITY = 3.5, 2.0, 0.9, 0.12
"""Exponents, chosen on clips of people in no evaluation: they separate what misled the weights."""
_UNIT = 0.2695
"""Places the threshold between most faces from cameras and those that misled at 0.54."""
_MIN_SHARE = 1e-3


def sharpness_of(crop: Image) -> float:
    """Return the variance of the Laplacian of a crop [S, S, 3] uint8 RGB in gray; it depends on S."""
    return float(cv2.Laplacian(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY), cv2.CV_64F).var())


def blockiness_of(face: Image) -> float:
    """Return the strength of compression artifacts in a face [H, W, 3] uint8 RGB, unscaled from the frame.

    About 0.45 to 0.54 for faces of any camera, sharp or blurred; more where a codec left blocks and flat
    areas in place of detail, also where they were enlarged or smoothed afterwards. 0 for a face under 16 px
    (of 112) or of one color.

    Block edges and the patterns of block transforms run along rows or columns, those of a face in all
    directions. So this compares how much second differences along rows differ from those along columns with
    the same for both diagonals, and both with half the size, which shows the face's own directions; and it
    weighs in the kurtosis of the Laplacian, which is high where a few edges are all that is left of detail.
    Unlike measures on an 8 px grid (Wang, Sheikh and Bovik, "No-reference perceptual quality assessment of
    JPEG compressed images", ICIP 2002) it needs neither period nor origin of the blocks, which scaling,
    cropping and deblocking change. Motion blur along rows or columns alone looks like blocks to it.
    """
    scale = min(1.0, _MEASURED_PX / max(1, *face.shape[:2]))
    if min(face.shape[:2]) * scale < _MIN_PX:
        return 0.0
    gray = _resize(cv2.cvtColor(face, cv2.COLOR_RGB2GRAY).astype(np.float32), scale)
    if not np.ptp(gray):
        return 0.0
    logs = [_log_blockiness(_resize(gray, factor)) for factor in _SCALES]
    return _UNIT * math.exp(sum(logs) / len(logs) / 4)


def _log_blockiness(gray: Gray) -> float:
    axes, diagonals = _directional_contrast(gray)
    coarse_axes, coarse_diagonals = _directional_contrast(_resize(gray, 0.5))
    fine = math.log(axes) - _DIAGONAL * math.log(diagonals)
    coarse = math.log(coarse_axes) - _COARSE_DIAGONAL * math.log(coarse_diagonals)
    return fine - _COARSE * coarse + _SPARSITY * math.log(_kurtosis(gray))


def _resize(gray: Gray, scale: float) -> Gray:
    if scale == 1:
        return gray
    size = [max(1, round(side * scale)) for side in gray.shape[::-1]]
    return np.asarray(cv2.resize(gray, size, interpolation=cv2.INTER_AREA), np.float32)


def _directional_contrast(gray: Gray) -> tuple[float, float]:
    """Return how much second differences along rows and along columns differ, and those along the
    diagonals."""
    center = 2 * gray[1:-1, 1:-1]
    row = gray[1:-1, 2:] - center + gray[1:-1, :-2]
    column = gray[2:, 1:-1] - center + gray[:-2, 1:-1]
    falling = gray[2:, 2:] - center + gray[:-2, :-2]
    rising = gray[2:, :-2] - center + gray[:-2, 2:]
    return _relative_difference(row, column), _relative_difference(falling, rising)


def _relative_difference(one: Gray, other: Gray) -> float:
    """Return nearly 0 where both have equal magnitudes everywhere, 1 where one of them is 0 everywhere."""
    one, other = np.sqrt(np.abs(one)), np.sqrt(np.abs(other))
    total = float((one + other).sum())
    return max(_MIN_SHARE, float(np.abs(one - other).sum()) / total) if total else _MIN_SHARE


def _kurtosis(gray: Gray) -> float:
    """Return the kurtosis of the Laplacian about 0: 3 for noise, at least 1."""
    squares = cv2.Laplacian(gray, cv2.CV_32F)[1:-1, 1:-1] ** 2
    mean = float(squares.mean())
    return max(1.0, float((squares**2).mean()) / mean**2) if mean else 1.0

"""How much a face crop shows, as one number."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt


def sharpness_of(crop: npt.NDArray[np.uint8]) -> float:
    """Variance of the Laplacian of the grey crop [S, S, 3] uint8 RGB; it depends on S."""
    return float(cv2.Laplacian(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY), cv2.CV_64F).var())

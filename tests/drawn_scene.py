"""A drawn scene, and where the landmarks of a face in it would be."""

from __future__ import annotations

import cv2
import numpy as np
from support import backdrop

from deepfake_triton.arrays import Image

LANDMARKS = np.array([[130.0, 110], [190, 110], [160, 147], [135, 176], [185, 176]])


def scene(seed: int = 0) -> Image:
    """Return a picture [280, 320, 3] uint8 RGB with the grain of a photo."""
    noise = np.random.default_rng(seed).normal(0, 12, (280, 320, 3))
    smooth = cv2.GaussianBlur(backdrop(280, 320).astype(np.float32) + noise, (0, 0), 1.0)
    return np.clip(smooth, 0, 255).astype(np.uint8)

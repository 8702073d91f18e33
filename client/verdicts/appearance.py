"""Appearance of a head: the portrait that plots show, and its color histogram.

Within one scene light, hair and clothes stay, so that colors tell whether somebody is still there. Across
cuts and videos they identify nobody; `face_embedding` does.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from deepfake_triton.preprocessing.crops import CropRule, crop_face

PORTRAIT = CropRule(96, margin=0.3)
"""Crop with hair and collar."""
_HEAD = (0.35, 0.45)
"""Half axes of the ellipse of the head, as fractions of the portrait's side: the background is left out."""
_BINS = (8, 16, 16)
_RANGES = (0, 256, 96, 176, 96, 176)
"""Ranges of L, a, b as OpenCV scales them; skin, hair and most clothes lie in the middle of a and b."""

Colors = npt.NDArray[np.float32]


def cut_portrait(
    frames: npt.NDArray[np.uint8], boxes: npt.NDArray[np.float32], seen: npt.NDArray[np.int64]
) -> npt.NDArray[np.uint8]:
    """Cut the portrait of a face, [96, 96, 3] uint8 RGB, from the middle one of the frames `seen`.

    `frames` are [T, H, W, 3] uint8 RGB, `boxes` [T, 4]; `seen` are indices of frames that show the face.
    """
    middle = seen[len(seen) // 2]
    return crop_face(frames[middle], boxes[middle], PORTRAIT)


def color_histogram(portrait: npt.NDArray[np.uint8]) -> Colors:
    """Return the color histogram of the head in a portrait [S, S, 3] uint8 RGB: square roots of the
    fractions, float32 [2048] of length 1."""
    lab = cv2.cvtColor(portrait, cv2.COLOR_RGB2LAB)
    side = len(portrait)
    head = np.zeros(portrait.shape[:2], np.uint8)
    axes = (round(_HEAD[0] * side), round(_HEAD[1] * side))
    cv2.ellipse(head, (side // 2, side // 2), axes, 0, 0, 360, (255,), cv2.FILLED)
    counts = cv2.calcHist([lab], [0, 1, 2], head, list(_BINS), list(_RANGES)).ravel()
    return np.asarray(np.sqrt(counts / max(1.0, counts.sum())), np.float32)


def color_distance(one: Colors, other: Colors) -> float:
    """Return the Hellinger distance of two histograms: 0 for equal colors to 1 for none in common."""
    return float(np.linalg.norm(one - other) / np.sqrt(2))

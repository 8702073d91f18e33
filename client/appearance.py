"""Whether two faces of one video look like the same person: by colours, not by identity.

Within one video clothes, hair and light stay, which suffices to link a face across a gap or a cut. It
recognises nobody: across videos it means nothing.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from deepfake_triton.preprocessing.crops import CropRule, crop_face

PORTRAIT = CropRule(96, margin=0.3)
"""With hair and collar."""
_HEAD = (0.35, 0.45)
"""Half axes of the ellipse that counts, as shares of the portrait's side: what is behind the head changes."""
_BINS = (8, 16, 16)
_RANGES = (0, 256, 96, 176, 96, 176)
"""Of L, a, b as OpenCV gives them; skin, hair and most clothes lie in the middle of a and b."""

Appearance = npt.NDArray[np.float32]


def portrait_of(
    frames: npt.NDArray[np.uint8], boxes: npt.NDArray[np.float32], seen: npt.NDArray[np.int64]
) -> npt.NDArray[np.uint8]:
    """A face [96, 96, 3] RGB, from the middle frame of those in which it was `seen`."""
    middle = seen[len(seen) // 2]
    return crop_face(frames[middle], boxes[middle], PORTRAIT)


def appearance_of(portrait: npt.NDArray[np.uint8]) -> Appearance:
    """The head's colours: the square roots of their shares, a vector of length 1."""
    lab = cv2.cvtColor(portrait, cv2.COLOR_RGB2LAB)
    side = len(portrait)
    head = np.zeros(portrait.shape[:2], np.uint8)
    axes = (round(_HEAD[0] * side), round(_HEAD[1] * side))
    cv2.ellipse(head, (side // 2, side // 2), axes, 0, 0, 360, (255,), cv2.FILLED)
    counts = cv2.calcHist([lab], [0, 1, 2], head, list(_BINS), list(_RANGES)).ravel()
    return np.asarray(np.sqrt(counts / max(1.0, counts.sum())), np.float32)


def distance(one: Appearance, other: Appearance) -> float:
    """Hellinger's, 0 for equal colours to 1 for none in common."""
    return float(np.linalg.norm(one - other) / np.sqrt(2))

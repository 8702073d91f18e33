"""Turn heads, close eyes and move mouths of views, so that training sees more than frontal faces.

The same motion goes on a real face and its fake counterpart, before anything is forged.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from deepfake_triton.arrays import Image, Points


@dataclass(frozen=True)
class HeadMotion:
    """Change of a head from how it was photographed.

    Positive `yaw_degrees` turn the face to the right of the picture, positive `pitch_degrees` downward. The
    others are fractions: eyes fully closed at 1, the jaw fully lowered at 1, `smile` from -1 (lips pursed) to 1.
    """

    yaw_degrees: float = 0.0
    pitch_degrees: float = 0.0
    eyes_closed: float = 0.0
    mouth_open: float = 0.0
    smile: float = 0.0


@dataclass(frozen=True)
class MovedHead:
    """A view after the motion: `pixels` [H, W, 3] uint8 RGB; landmarks [5, 2], box [4], mesh [468, 3] in px."""

    pixels: Image
    landmarks: Points
    box: npt.NDArray[np.float64]
    mesh: npt.NDArray[np.float64]


def sample_head_motion(rng: np.random.Generator, *, pose: bool, expressions: bool) -> HeadMotion:
    """Draw one motion for a still."""
    raise NotImplementedError


def sample_head_path(
    rng: np.random.Generator, num_frames: int, *, pose: bool, expressions: bool
) -> list[HeadMotion]:
    """Draw a motion for each frame of a clip."""
    raise NotImplementedError


def move_head(
    view_pixels: Image,
    mesh: npt.NDArray[np.float64],
    motion: HeadMotion,
    *,
    landmarks: Points,
    box: npt.NDArray[np.float64],
) -> MovedHead:
    """Return the view after the motion."""
    raise NotImplementedError

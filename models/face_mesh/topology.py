"""Which points of the mesh are what: triangles, outline, lids and lips.

Numbers are those of MediaPipe's canonical face model (Apache License 2.0). "Right" is the person's right,
which is on the left of a picture that is not mirrored.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from importlib import resources

import numpy as np
import numpy.typing as npt

Mesh = npt.NDArray[np.float64]
"""Vertices [468, 3] px of a face, with the depth in the same unit, smaller toward the camera."""
NUM_POINTS = 468

OUTLINE = (
    *(10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377, 152),
    *(148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109),
)
"""The face's border, from the middle of the forehead around."""
FOREHEAD, CHIN, NOSE_TIP = 10, 152, 1
EARS = (234, 454)
"""Points of the outline before the ears."""


@dataclass(frozen=True)
class EyePoints:
    """Points of one eye: both lids' margins from the outer corner to the inner, and the brow's lower edge."""

    upper: tuple[int, ...]
    lower: tuple[int, ...]
    brow: tuple[int, ...]


RIGHT_EYE = EyePoints(
    upper=(33, 246, 161, 160, 159, 158, 157, 173, 133),
    lower=(33, 7, 163, 144, 145, 153, 154, 155, 133),
    brow=(46, 53, 52, 65, 55),
)
LEFT_EYE = EyePoints(
    upper=(263, 466, 388, 387, 386, 385, 384, 398, 362),
    lower=(263, 249, 390, 373, 374, 380, 381, 382, 362),
    brow=(276, 283, 282, 295, 285),
)
EYES = (RIGHT_EYE, LEFT_EYE)

UPPER_LIP = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308)
LOWER_LIP = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308)
"""Edges of the lips toward the mouth's opening, from the right corner to the left."""
MOUTH_CORNERS = (61, 291)

_OPENINGS = (
    RIGHT_EYE.upper + RIGHT_EYE.lower[-2:0:-1],
    LEFT_EYE.upper + LEFT_EYE.lower[-2:0:-1],
    UPPER_LIP + LOWER_LIP[-2:0:-1],
)


@functools.cache
def surface_triangles() -> npt.NDArray[np.int64]:
    """Return the triangles [852, 3] of the mesh; eyes and mouth are open in it."""
    text = (resources.files("deepfake_triton.models.face_mesh") / "triangles.csv").read_text()
    return np.array([line.split(",") for line in text.split()], np.int64)


@functools.cache
def closed_triangles() -> npt.NDArray[np.int64]:
    """Return the triangles [N, 3] of the mesh with eyes and mouth filled, between their two edges."""
    pairs = [(ring, i) for ring in _OPENINGS for i in range(len(ring) // 2 - 1)]
    strips = [(ring[i], ring[i + 1], ring[-1 - i]) for ring, i in pairs]
    strips += [(ring[i + 1], ring[-1 - i], ring[-2 - i]) for ring, i in pairs]
    return np.concatenate([surface_triangles(), np.array(strips, np.int64)])

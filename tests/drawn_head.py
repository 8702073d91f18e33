"""A drawn head whose points are known in three dimensions: half an ellipsoid with a mesh on it."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from deepfake_triton.arrays import Image, Points
from deepfake_triton.models.face_mesh.topology import (
    EARS,
    EYES,
    LEFT_EYE,
    LOWER_LIP,
    MOUTH_CORNERS,
    NUM_POINTS,
    OUTLINE,
    RIGHT_EYE,
    UPPER_LIP,
    EyePoints,
    Mesh,
    closed_triangles,
)

Vector = npt.NDArray[np.float64]

SIZE = (260, 240)
CENTER = np.array([120.0, 125.0])
RADII = np.array([64.0, 84.0])
DEPTH = 70.0
SKIN, EYEBALL, PUPIL, LIPS = (196, 152, 128), (236, 236, 236), (30, 40, 60), (160, 70, 70)
EYE_WIDTH, MOUTH_WIDTH = 30.0, 46.0


@dataclass(frozen=True)
class DrawnHead:
    """Picture, mesh, box and landmarks of the head."""

    pixels: Image
    mesh: Mesh
    box: Vector
    landmarks: Points


def surface(points: Points) -> Mesh:
    """The points [N, 3] of the ellipsoid under places [N, 2] of the picture."""
    away = (((points - CENTER) / RADII) ** 2).sum(axis=1)
    return np.column_stack([points, -DEPTH * np.sqrt(np.clip(1 - away, 0, 1))])


def turned(points: Mesh, pivot: Vector, yaw_degrees: float) -> Mesh:
    """Where points go when the head is turned to the right of the picture."""
    angle = np.deg2rad(yaw_degrees)
    out = points - pivot
    x = out[:, 0] * np.cos(angle) - out[:, 2] * np.sin(angle)
    z = out[:, 0] * np.sin(angle) + out[:, 2] * np.cos(angle)
    moved: Mesh = np.column_stack([x, out[:, 1], z]) + pivot
    return moved


def pivot_of(mesh: Mesh) -> Vector:
    """The middle between the ears, on the head's axis."""
    pivot: Vector = mesh[list(EARS)].mean(axis=0)
    return pivot


def draw_head() -> DrawnHead:
    """Draw a face with two eyes and a mouth; its vertices are spread evenly between the known ones."""
    mesh = surface(_spread(_fixed()))
    height, width = SIZE
    pixels = np.full((height, width, 3), (90, 110, 140), np.uint8)
    cv2.ellipse(pixels, (120, 125), (66, 86), 0, 0, 360, SKIN, -1, cv2.LINE_AA)
    for eye in EYES:
        ring = mesh[[*eye.upper, *eye.lower[-2:0:-1]], :2]
        _fill(pixels, ring, EYEBALL)
        x, y = ring.mean(axis=0)
        cv2.circle(pixels, (round(x), round(y)), 4, PUPIL, -1, cv2.LINE_AA)
    lips = mesh[[*UPPER_LIP, *LOWER_LIP[-2:0:-1]], :2]
    cv2.polylines(pixels, [_shifted(lips)], True, LIPS, 5, cv2.LINE_AA, 4)
    eyes = [mesh[[*eye.upper, *eye.lower[1:-1]], :2].mean(axis=0) for eye in EYES]
    landmarks = np.array([*eyes, mesh[1, :2], *mesh[list(MOUTH_CORNERS), :2]])
    return DrawnHead(pixels, mesh, np.array([60.0, 45, 180, 208]), landmarks)


def _fixed() -> dict[int, tuple[float, float]]:
    angles = 2 * np.pi * np.arange(len(OUTLINE)) / len(OUTLINE)
    rim = CENTER + 0.97 * RADII * np.column_stack([np.sin(angles), -np.cos(angles)])
    fixed = {index: (float(x), float(y)) for index, (x, y) in zip(OUTLINE, rim, strict=True)}
    fixed |= _eye(RIGHT_EYE, 92.0, 1.0) | _eye(LEFT_EYE, 148.0, -1.0)
    for t, upper, lower in zip(np.linspace(-0.5, 0.5, 11), UPPER_LIP, LOWER_LIP, strict=True):
        fixed[upper] = (120 + MOUTH_WIDTH * t, 168 - 2 * (1 - 4 * t * t))
        fixed[lower] = (120 + MOUTH_WIDTH * t, 168 + 2 * (1 - 4 * t * t))
    fixed[MOUTH_CORNERS[0]], fixed[MOUTH_CORNERS[1]] = (94.0, 168.0), (146.0, 168.0)
    fixed[1] = (120.0, 138.0)
    return fixed


def _eye(eye: EyePoints, center: float, outward: float) -> dict[int, tuple[float, float]]:
    fixed = {}
    for t, upper, lower in zip(np.linspace(-0.5, 0.5, 9), eye.upper, eye.lower, strict=True):
        fixed[lower] = (center + outward * EYE_WIDTH * t, 108 + 4.5 * (1 - 4 * t * t))
        fixed[upper] = (center + outward * EYE_WIDTH * t, 108 - 4.5 * (1 - 4 * t * t))
    for t, brow in zip(np.linspace(-0.55, 0.5, 5), eye.brow, strict=True):
        fixed[brow] = (center + outward * EYE_WIDTH * t, 91.0)
    return fixed


def _spread(fixed: dict[int, tuple[float, float]]) -> Points:
    """Every other vertex in the middle of its neighbors: Tutte, *How to Draw a Graph*, 1963."""
    matrix, right = np.zeros((NUM_POINTS, NUM_POINTS)), np.zeros((NUM_POINTS, 2))
    for a, b, c in closed_triangles():
        for first, second in ((a, b), (b, c), (c, a)):
            matrix[first, second] = matrix[second, first] = -1
    np.fill_diagonal(matrix, np.maximum(-matrix.sum(axis=1), 1))
    for index, place in fixed.items():
        matrix[index], right[index] = 0, place
        matrix[index, index] = 1
    return np.linalg.solve(matrix, right)


def _fill(pixels: Image, ring: Points, color: tuple[int, int, int]) -> None:
    cv2.fillPoly(pixels, [_shifted(ring)], color, cv2.LINE_AA, 4)


def _shifted(points: Points) -> npt.NDArray[np.int32]:
    shifted: npt.NDArray[np.int32] = np.rint(points * 16).astype(np.int32)
    return shifted

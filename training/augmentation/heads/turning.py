"""The head around a face's mesh, and its turns in three dimensions.

Beyond the mesh's outline, hair, ears and neck are rings of points that recede to the head's axis, and whose
motion fades out.
"""

from __future__ import annotations

import functools
import itertools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from deepfake_triton.arrays import Points
from deepfake_triton.models.face_mesh.topology import (
    CHIN,
    EARS,
    EYES,
    FOREHEAD,
    NUM_POINTS,
    OUTLINE,
    Mesh,
)
from deepfake_triton.training.augmentation.heads.patch import smooth_step

_RINGS = np.array([1.1, 1.2, 1.32, 1.46, 1.62, 1.8, 2.0])
"""Rings around the outline, in its own distances from the face's middle."""
_RECEDE_BY, _NECK_RECEDES_BY = 1.7, 1.22
"""Ring at which the surface has receded to the head's axis: the skull above, the neck below the chin."""
_FADE_FROM, _NECK_FADES_FROM = 1.2, 1.05
_FLAT_UNTIL = 0.8
"""Distance from the face's middle, in those of the outline, from which the sides recede to the axis.

What is behind a face's sides is not in the picture. If they came forward with the cheeks, background would be
drawn out between cheek and ear.
"""

_FURTHEST_YAW_DEGREES, _FURTHEST_PITCH_DEGREES = 36.0, 24.0
"""Furthest turns from the front that a photo's own pose and the motion may add up to."""
_LEAST_BACK_DEGREES = 6.0
_OWN_PITCH_DEGREES = 5.0
"""Slope of the line from forehead to chin of a head that looks straight ahead."""


@dataclass(frozen=True)
class HeadPose:
    """Place of a head: `pivot` [3] px on the axis through its ears, and the matrix [3, 3] to its own axes."""

    pivot: npt.NDArray[np.float64]
    axes: npt.NDArray[np.float64]


def head_pose(mesh: Mesh) -> HeadPose:
    """Return where a mesh's head turns, and how it is tilted in the picture."""
    down = mesh[CHIN, :2] - mesh[FOREHEAD, :2]
    down = down / max(float(np.hypot(*down)), 1e-9)
    axes = np.array([[down[1], -down[0], 0], [down[0], down[1], 0], [0, 0, 1]])
    return HeadPose(mesh[list(EARS)].mean(axis=0), axes)


def turn_points(points: Mesh, pose: HeadPose, *, yaw_degrees: float, pitch_degrees: float) -> Mesh:
    """Turn points [N, 3] px around the head's pivot, by the pitch first, both around the head's own axes."""
    yaw, pitch = np.deg2rad(yaw_degrees), np.deg2rad(pitch_degrees)
    around_x = np.array([[1, 0, 0], [0, np.cos(pitch), -np.sin(pitch)], [0, np.sin(pitch), np.cos(pitch)]])
    around_y = np.array([[np.cos(yaw), 0, -np.sin(yaw)], [0, 1, 0], [np.sin(yaw), 0, np.cos(yaw)]])
    turn = pose.axes.T @ around_y @ around_x @ pose.axes
    turned: Mesh = (points - pose.pivot) @ turn.T + pose.pivot
    return turned


def limit_turn(mesh: Mesh, *, yaw_degrees: float, pitch_degrees: float) -> tuple[float, float]:
    """Return the part of a turn (yaw, pitch) that a photo can show of a head which was turned already.

    One that is turned back shows its hidden side, of which the photo has nothing.
    """
    (x1, y1, z1), (x2, y2, z2) = sorted(mesh[[eye.upper[0] for eye in EYES]].tolist())
    own = float(np.rad2deg(np.arctan2(z2 - z1, np.hypot(x2 - x1, y2 - y1))))
    furthest = max(_FURTHEST_YAW_DEGREES - abs(own), 0.0)
    back = max(_FURTHEST_YAW_DEGREES - 2 * abs(own), _LEAST_BACK_DEGREES)
    low, high = (-back, furthest) if own > 0 else (-furthest, back)
    down = mesh[CHIN] - mesh[FOREHEAD]
    own_pitch = float(np.rad2deg(np.arctan2(down[2], np.hypot(down[0], down[1])))) - _OWN_PITCH_DEGREES
    lowest = min(-_FURTHEST_PITCH_DEGREES - own_pitch, 0.0)
    highest = max(_FURTHEST_PITCH_DEGREES - own_pitch, 0.0)
    return float(np.clip(yaw_degrees, low, high)), float(np.clip(pitch_degrees, lowest, highest))


def move_points(points: Points, mesh: Mesh, moved: Mesh) -> Points:
    """Move points [N, 2] px as the mesh's nearest vertices move from `mesh` to `moved`."""
    reach = 0.02 * float(np.ptp(mesh[:, 1]) + np.ptp(mesh[:, 0]))
    squared = ((points[:, None] - mesh[None, :, :2]) ** 2).sum(axis=2) / reach**2
    weights = np.exp(squared.min(axis=1, keepdims=True) - squared)
    weights /= weights.sum(axis=1, keepdims=True)
    out: Points = points + weights @ (moved - mesh)[:, :2]
    return out


@dataclass(frozen=True)
class HeadSurface:
    """Points [468 + R * 36, 3] px of the mesh and the rings around it.

    `kept` is which part of a turn each point follows.
    """

    points: Mesh
    kept: npt.NDArray[np.float64]

    def turned(self, pose: HeadPose, *, yaw_degrees: float, pitch_degrees: float) -> Mesh:
        """Return the points after a turn of the head."""
        turned = turn_points(self.points, pose, yaw_degrees=yaw_degrees, pitch_degrees=pitch_degrees)
        out: Mesh = self.points + self.kept[:, None] * (turned - self.points)
        return out


def head_surface(mesh: Mesh, pose: HeadPose) -> HeadSurface:
    """Return the surface of the whole head, with the sides of the face receding to the head's axis."""
    outline = mesh[list(OUTLINE)]
    center = outline[:, :2].mean(axis=0)
    face = _recede_sides(mesh, center, pose)
    outline = face[list(OUTLINE)]
    out = outline[:, :2] - center
    below = _share_below(out, pose)
    recede_by = _RECEDE_BY + below * (_NECK_RECEDES_BY - _RECEDE_BY)
    fade_from = _FADE_FROM + below * (_NECK_FADES_FROM - _FADE_FROM)
    rings = _RINGS[:, None]
    ahead = np.cos(0.5 * np.pi * np.clip((rings - 1) / (recede_by - 1), 0, 1))
    z = pose.pivot[2] + ahead * (outline[:, 2] - pose.pivot[2])
    around = np.concatenate([center + rings[..., None] * out, z[..., None]], axis=2)
    kept = smooth_step((_RINGS[-1] - rings) / (_RINGS[-1] - fade_from))
    points = np.concatenate([face, around.reshape(-1, 3)])
    return HeadSurface(points, np.concatenate([np.ones(NUM_POINTS), kept.ravel()]))


@functools.cache
def ring_triangles() -> npt.NDArray[np.int64]:
    """Return the triangles [N, 3] of the bands between the outline and the rings, the innermost first."""
    count = len(OUTLINE)
    rings = [np.array(OUTLINE)] + [NUM_POINTS + count * i + np.arange(count) for i in range(len(_RINGS))]
    bands = []
    for inner, outer in itertools.pairwise(rings):
        next_inner, next_outer = np.roll(inner, -1), np.roll(outer, -1)
        bands.append(np.column_stack([inner, next_inner, outer]))
        bands.append(np.column_stack([next_inner, next_outer, outer]))
    return np.concatenate(bands)


def _recede_sides(mesh: Mesh, center: Points, pose: HeadPose) -> Mesh:
    out = mesh[:, :2] - center
    angles, radii = np.arctan2(out[:, 1], out[:, 0]), np.hypot(*out.T)
    border = list(OUTLINE)
    order = np.argsort(angles[border])
    reach = np.interp(angles, angles[border][order], radii[border][order], period=2 * np.pi)
    side = smooth_step((radii / reach - _FLAT_UNTIL) / (1 - _FLAT_UNTIL))
    side *= 1 - np.abs((out @ pose.axes[:2, :2].T)[:, 1] / np.maximum(radii, 1e-9)) ** 2
    face = mesh.copy()
    face[:, 2] += side * np.maximum(pose.pivot[2] - mesh[:, 2], 0)
    return face


def _share_below(out: Points, pose: HeadPose) -> npt.NDArray[np.float64]:
    """Return 1 for directions [N, 2] from the face's middle down to the chin, falling to 0 at its sides."""
    down = (out @ pose.axes[:2, :2].T)[:, 1] / np.hypot(*out.T)
    share: npt.NDArray[np.float64] = np.clip(down, 0, 1) ** 2
    return share

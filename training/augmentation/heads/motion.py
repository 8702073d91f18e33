"""Turn heads, close eyes and move mouths of views, so that training sees more than frontal faces.

The same motion goes on a real face and its fake counterpart, before anything is forged.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from deepfake_triton.arrays import Image, Points
from deepfake_triton.models.face_mesh.topology import Mesh
from deepfake_triton.training.augmentation.heads.eyes import close_eyes
from deepfake_triton.training.augmentation.heads.mouth import move_mouth
from deepfake_triton.training.augmentation.heads.rendering import turn_head
from deepfake_triton.training.augmentation.heads.turning import limit_turn, move_points

LARGEST_YAW_DEGREES, LARGEST_PITCH_DEGREES = 30.0, 20.0
_PITCH_DEGREES, _FRONTAL_YAW_DEGREES = 8.0, 5.0
_FRONTAL_PROBABILITY = 0.3
_CLOSED_PROBABILITY, _FULLY_CLOSED_PROBABILITY = 0.5, 0.5
_TALKING_PROBABILITY = 0.5
_SMILE, _SMILING_PROBABILITY = 0.45, 0.6
_BLINK_FRAMES, _BETWEEN_BLINKS_FRAMES = (3, 6), (8.0, 60.0)
_SYLLABLE_FRAMES = (3.0, 8.0)
_STILL_CLOSED_PROBABILITY = 0.3
"""Part of the clips whose eyes are closed, or nearly, from the first frame to the last."""

_Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class HeadMotion:
    """Change of a head from how it was photographed.

    Positive `yaw_degrees` turn the face to the right of the picture, positive `pitch_degrees` downward. The
    others are fractions: eyes fully closed at 1, the jaw fully lowered at 1; `smile` is -1 (pursed) to 1.
    """

    yaw_degrees: float = 0.0
    pitch_degrees: float = 0.0
    eyes_closed: float = 0.0
    mouth_open: float = 0.0
    smile: float = 0.0


@dataclass(frozen=True)
class MovedHead:
    """A view after the motion: `pixels` [H, W, 3] uint8 RGB.

    `landmarks` [5, 2], `box` [4] (x1 y1 x2 y2) and `mesh` [468, 3] are in its px.
    """

    pixels: Image
    landmarks: Points
    box: npt.NDArray[np.float64]
    mesh: Mesh


def move_head(
    view_pixels: Image,
    mesh: Mesh,
    motion: HeadMotion,
    *,
    landmarks: Points,
    box: npt.NDArray[np.float64],
) -> MovedHead:
    """Turn the head in `view_pixels` [H, W, 3] uint8 RGB, close its eyes and move its mouth.

    `mesh` [468, 3], `landmarks` [5, 2] and `box` [4] are in px of the view, which may be mirrored. The box
    keeps its place relative to the mesh's hull. A head that is turned already is turned on less far.
    """
    pixels, moved = view_pixels, mesh
    if motion.eyes_closed > 0:
        pixels, moved = close_eyes(pixels, moved, motion.eyes_closed)
    if motion.mouth_open or motion.smile:
        pixels, moved = move_mouth(pixels, moved, opened=motion.mouth_open, smile=motion.smile)
    yaw, pitch = limit_turn(mesh, yaw_degrees=motion.yaw_degrees, pitch_degrees=motion.pitch_degrees)
    if yaw or pitch:
        pixels, moved = turn_head(pixels, moved, yaw_degrees=yaw, pitch_degrees=pitch)
    return MovedHead(pixels, move_points(landmarks, mesh, moved), _follow_hull(box, mesh, moved), moved)


def _follow_hull(box: npt.NDArray[np.float64], mesh: Mesh, moved: Mesh) -> npt.NDArray[np.float64]:
    """Return the box that lies around `moved` as `box` does around `mesh`."""
    low, new_low = mesh[:, :2].min(axis=0), moved[:, :2].min(axis=0)
    side, new_side = np.ptp(mesh[:, :2], axis=0), np.ptp(moved[:, :2], axis=0)
    out: npt.NDArray[np.float64] = ((box.reshape(2, 2) - low) / side * new_side + new_low).reshape(4)
    return out


def sample_head_motion(rng: np.random.Generator, *, pose: bool, expressions: bool) -> HeadMotion:
    """Draw the motion of a still: a turn if `pose`, eyes and mouth if `expressions`.

    What is off takes nothing from `rng`.
    """
    yaw, pitch = _sample_pose(rng) if pose else (0.0, 0.0)
    if not expressions:
        return HeadMotion(yaw, pitch)
    return HeadMotion(yaw, pitch, _sample_closed(rng, _CLOSED_PROBABILITY), _sample_opened(rng), _smile(rng))


def sample_head_path(
    rng: np.random.Generator, num_frames: int, *, pose: bool, expressions: bool
) -> list[HeadMotion]:
    """Draw a motion for each frame of a clip: slow turns if `pose`, blinks and talk if `expressions`.

    What is off takes nothing from `rng`.
    """
    still = np.zeros(num_frames)
    yaw, pitch = _turns(rng, num_frames) if pose else (still, still)
    closed = opened = smile = still
    if expressions:
        closed, opened = _blinks(rng, num_frames), _talk(rng, num_frames)
        smile = np.clip(_smile(rng) + 0.2 * _wave(rng, num_frames), -1, 1)
    columns = (values.tolist() for values in (yaw, pitch, closed, opened, smile))
    return [HeadMotion(*values) for values in zip(*columns, strict=True)]


def _sample_pose(rng: np.random.Generator) -> tuple[float, float]:
    """Return yaw and pitch in degrees; some heads stay nearly frontal."""
    is_frontal, turned, slight, nod = rng.uniform(), rng.uniform(-1, 1), rng.normal(), rng.normal()
    yaw = _FRONTAL_YAW_DEGREES * slight if is_frontal < _FRONTAL_PROBABILITY else LARGEST_YAW_DEGREES * turned
    limits = LARGEST_YAW_DEGREES, LARGEST_PITCH_DEGREES
    yaw, pitch = (
        float(np.clip(value, -limit, limit))
        for value, limit in zip((yaw, _PITCH_DEGREES * nod), limits, strict=True)
    )
    return yaw, pitch


def _sample_closed(rng: np.random.Generator, probability: float) -> float:
    is_closed, is_fully, part = rng.uniform(size=3)
    if is_closed >= probability:
        return 0.0
    return 1.0 if is_fully < _FULLY_CLOSED_PROBABILITY else float(0.2 + 0.8 * part)


def _sample_opened(rng: np.random.Generator) -> float:
    is_talking, part = rng.uniform(size=2)
    return float(0.9 * part**1.5) if is_talking < _TALKING_PROBABILITY else 0.0


def _smile(rng: np.random.Generator) -> float:
    is_moved, amount = rng.uniform(), rng.normal()
    return float(np.clip(_SMILE * amount, -1, 1)) if is_moved < _SMILING_PROBABILITY else 0.0


def _wave(rng: np.random.Generator, num_frames: int) -> _Values:
    """Return a slow wave from 0 on, about -1 to 1."""
    rates, phases = rng.uniform(0.05, 0.3, 2), rng.uniform(0, 2 * np.pi, 2)
    time = np.arange(num_frames)[:, None]
    out: _Values = 0.5 * (np.sin(phases + rates * time) - np.sin(phases)).sum(axis=1)
    return out


def _turns(rng: np.random.Generator, num_frames: int) -> tuple[_Values, _Values]:
    """Return yaw and pitch in degrees: some slow motion around one pose, and often a turn to another."""
    first, second = _sample_pose(rng), _sample_pose(rng)
    turns, middle, length = rng.uniform() < 0.5, rng.uniform(0, num_frames), rng.uniform(10, 40)
    part = np.clip((np.arange(num_frames) - middle) / length + 0.5, 0, 1) * turns
    part = part * part * (3 - 2 * part)
    limits = LARGEST_YAW_DEGREES, LARGEST_PITCH_DEGREES
    yaw, pitch = (
        np.clip(start + part * (end - start) + amount * _wave(rng, num_frames), -limit, limit)
        for start, end, amount, limit in zip(first, second, rng.uniform(0, 6, 2), limits, strict=True)
    )
    return yaw, pitch


def _blinks(rng: np.random.Generator, num_frames: int) -> _Values:
    """Return how far the eyes are closed in each frame: blinks, of which each falls faster than it rises."""
    closed = np.full(num_frames, _sample_closed(rng, _STILL_CLOSED_PROBABILITY))
    start = float(rng.uniform(-_BLINK_FRAMES[1], _BETWEEN_BLINKS_FRAMES[1]))
    while start < num_frames:
        length = int(rng.integers(_BLINK_FRAMES[0], _BLINK_FRAMES[1] + 1))
        time = (np.arange(num_frames) - start) / length
        shape = np.clip(np.minimum(time / 0.3, (1 - time) / 0.45), 0, 1)
        closed = np.maximum(closed, shape * shape * (3 - 2 * shape))
        start += length + float(rng.uniform(*_BETWEEN_BLINKS_FRAMES))
    return closed


def _talk(rng: np.random.Generator, num_frames: int) -> _Values:
    """Return how far the mouth is open in each frame: syllables of some frames each, or nothing."""
    is_talking, loudness = rng.uniform() < _TALKING_PROBABILITY, rng.uniform(0.15, 0.8)
    knots = np.cumsum(rng.uniform(*_SYLLABLE_FRAMES, size=num_frames + 2)) - _SYLLABLE_FRAMES[1]
    heights = rng.uniform(0, 1, len(knots)) * (np.arange(len(knots)) % 2)
    return np.asarray(is_talking * loudness * np.interp(np.arange(num_frames), knots, heights))

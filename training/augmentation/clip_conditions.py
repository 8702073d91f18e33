"""Conditions of rendered clips, known by construction: roll, yaw, pitch, closed eyes, mirror images."""

from __future__ import annotations

import argparse
import re
from typing import TYPE_CHECKING

from deepfake_triton.errors import DatasetError

if TYPE_CHECKING:
    from deepfake_triton.training.augmentation.pair_options import Augmentation, FixedPose, PairOptions
    from deepfake_triton.training.augmentation.pairs import PairSampler

PLAIN = "plain"
LARGEST_ANGLES_DEGREES = {"roll": 45.0, "yaw": 40.0, "pitch": 25.0}
"""Largest angles: a picture from the front does not show what larger yaws and pitches would."""
CONDITIONS_TEXT = "plain, mirrored, eyes-closed, roll=DEGREES, yaw=DEGREES, pitch=DEGREES"
CLIP_AUGMENTATIONS: tuple[Augmentation, ...] = ("head-pose", "expressions", "edits")
"""Augmentations of `PairOptions` that rendered clips can show; `evaluate` degrades them instead."""
_POSES: tuple[Augmentation, ...] = ("head-pose", "expressions")
_ANGLE = re.compile(r"(roll|yaw|pitch)=(-?\d+(?:\.\d+)?)")


def condition_names(text: str) -> tuple[str, ...]:
    """Parse conditions with commas between them, such as `plain,roll=15,eyes-closed`."""
    names = tuple(text.split(","))
    for name in names:
        angle = _ANGLE.fullmatch(name)
        if name not in (PLAIN, "mirrored", "eyes-closed") and not angle:
            raise argparse.ArgumentTypeError(
                f"got {name!r}, expected {CONDITIONS_TEXT}, with commas between them"
            )
        if angle and abs(float(angle[2])) > LARGEST_ANGLES_DEGREES[angle[1]]:
            largest = LARGEST_ANGLES_DEGREES[angle[1]]
            raise argparse.ArgumentTypeError(f"got {name!r}, expected {-largest:g} to {largest:g} degrees")
    if len(set(names)) < len(names):
        raise argparse.ArgumentTypeError(f"got {text!r}, expected each condition once")
    return names


def needs_mesh(condition: str) -> bool:
    """Tell whether a condition moves the head, for which a portrait needs a mesh."""
    return condition == "eyes-closed" or condition.startswith(("yaw=", "pitch="))


def take_name(path: str, condition: str) -> str:
    """Return the path of a rendered clip without its condition: that of one take under each is the same."""
    stem, dot, suffix = path.rpartition(".")
    return f"{stem.removesuffix(f'-{condition or PLAIN}')}{dot}{suffix}"


def pose_of(condition: str) -> FixedPose:
    """Return the pose in all frames of a clip under a condition that `condition_names` has accepted."""
    from deepfake_triton.training.augmentation.heads.motion import HeadMotion
    from deepfake_triton.training.augmentation.pair_options import FixedPose

    kind, _, value = condition.partition("=")
    degrees = float(value or 0)
    if kind == "roll":
        return FixedPose(roll_degrees=degrees)
    if not needs_mesh(condition):
        return FixedPose(mirrored=kind == "mirrored")
    motion = HeadMotion(
        yaw_degrees=degrees if kind == "yaw" else 0.0,
        pitch_degrees=degrees if kind == "pitch" else 0.0,
        eyes_closed=float(kind == "eyes-closed"),
    )
    return FixedPose(motion=motion)


def require_no_poses(options: PairOptions, conditions: tuple[str, ...]) -> None:
    """Raise DatasetError where conditions would take the place of poses that augmentations draw."""
    drawn = [name for name in _POSES if options.has(name)]
    if conditions and drawn:
        raise DatasetError(
            f"got --augmentations {','.join(drawn)} with --conditions {','.join(conditions)}, which fix the "
            "pose of every clip; leave one of the two out"
        )


def require_meshes(sampler: PairSampler, conditions: tuple[str, ...]) -> None:
    """Raise DatasetError where a condition needs a mesh and a portrait has none."""
    moving = [name for name in conditions if needs_mesh(name)]
    without = [portrait.path for portrait in sampler.portraits if portrait.mesh is None]
    if moving and without:
        raise DatasetError(
            f"--conditions {','.join(moving)}: {len(without)} of {len(sampler.portraits)} faces have no "
            f"mesh, the first is {without[0]}; roll, mirrored and plain need none"
        )

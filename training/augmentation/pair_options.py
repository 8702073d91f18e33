"""Choices of what real–fake pairs may show beyond smooth warps, ordinary degradations and blended faces."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from deepfake_triton.training.forgery.kinds import CLASSIC_KINDS, Kind

if TYPE_CHECKING:
    from deepfake_triton.training.augmentation.heads.motion import HeadMotion

Augmentation = Literal["head-pose", "expressions", "edits", "heavy-compression", "motion-blur"]
AUGMENTATIONS: tuple[Augmentation, ...] = get_args(Augmentation)


@dataclass(frozen=True)
class PairOptions:
    """Options of `PairSampler`; those switched off draw no random number.

    `augmentations` apply to a real face and its fake counterpart alike: `head-pose` (roll, and yaw and pitch
    where a portrait has a mesh), `expressions` (closed eyes, moving mouths; need a mesh), `edits` (smoothing,
    sharpening, relighting, text), `heavy-compression` and `motion-blur`. Forgeries are of one of `kinds`;
    with `temporal` they flicker and drop out from frame to frame.
    """

    augmentations: frozenset[Augmentation] = frozenset()
    kinds: tuple[Kind, ...] = CLASSIC_KINDS
    temporal: bool = False

    def has(self, augmentation: Augmentation) -> bool:
        """Tell whether an augmentation is on."""
        return augmentation in self.augmentations


@dataclass(frozen=True)
class FixedPose:
    """Pose of a head in all frames of a clip, in place of a drawn one; `motion` needs a mesh."""

    roll_degrees: float = 0.0
    mirrored: bool = False
    motion: HeadMotion | None = None

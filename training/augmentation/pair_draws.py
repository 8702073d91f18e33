"""What the options of pairs draw: poses, expressions, edits, recipes and degradations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from deepfake_triton.arrays import Image, Points
from deepfake_triton.training.augmentation.camera_motion import Placement, View, turn_path
from deepfake_triton.training.augmentation.degradations import (
    Degradation,
    replace_missing_codec,
    sample_degradation,
)
from deepfake_triton.training.augmentation.edits.edits import Edits, apply_edits, sample_edits
from deepfake_triton.training.augmentation.heads.motion import (
    HeadMotion,
    move_head,
    sample_head_motion,
    sample_head_path,
)
from deepfake_triton.training.augmentation.pair_options import FixedPose, PairOptions
from deepfake_triton.training.forgery.recipe import ForgeryRecipe, sample_recipe

LARGEST_ROLL_DEGREES = 30.0
VIEW_PER_CROP, _TURNED_VIEW_PER_CROP = 1.15, 1.35
_VISIBLE_SHARE = 0.3
"""Least share of the difference between a pair that overlays may leave."""


@dataclass(frozen=True)
class EditedPair:
    """Edits of a picture before it is forged, and of the real picture and its fake counterpart after that.

    Overlays come after: a forged caption would be warped, which gives no real forgery away.
    """

    first: Edits | None = None
    last: Edits | None = None

    def before(self, image: Image, landmarks: Points) -> Image:
        """Return the picture that is forged."""
        return apply_edits([image], self.first, landmarks=landmarks)[0] if self.first else image

    def after(self, images: Sequence[Image], landmarks: Points) -> list[Image]:
        """Return the real picture and its fake counterpart; both get the same edits.

        Overlays that hide the forgery are left out: nothing would tell the two pictures apart.
        """
        return self.after_frames([images], [landmarks])[0]

    def after_frames(
        self, pairs: Sequence[Sequence[Image]], landmarks: Sequence[Points]
    ) -> list[list[Image]]:
        """Return each frame's real picture and fake counterpart; overlays are in all frames, or in none."""
        if not self.last:
            return [list(pair) for pair in pairs]
        edited = _edit(pairs, self.last, landmarks)
        if self.last.overlays and _difference(edited) < _VISIBLE_SHARE * _difference(pairs):
            return _edit(pairs, replace(self.last, overlays=()), landmarks)
        return edited


def _edit(pairs: Sequence[Sequence[Image]], edits: Edits, landmarks: Sequence[Points]) -> list[list[Image]]:
    return [apply_edits(pair, edits, landmarks=at) for pair, at in zip(pairs, landmarks, strict=True)]


def _difference(pairs: Sequence[Sequence[Image]]) -> float:
    return sum(float(cv2.norm(real, fake, cv2.NORM_L1)) for real, fake in pairs)


@dataclass(frozen=True)
class PairDraws:
    """Random choices of a pair under its `options`; what is switched off draws nothing."""

    options: PairOptions

    @property
    def view_scale(self) -> float:
        """Side of a still's view relative to its crop: a turned head needs what was beside it."""
        return _TURNED_VIEW_PER_CROP if self.options.has("head-pose") else VIEW_PER_CROP

    def roll(self, rng: np.random.Generator, std_degrees: float) -> float:
        """Draw the angle by which a face is tilted."""
        roll = float(rng.normal(0, std_degrees))
        if self.options.has("head-pose") and rng.uniform() < 0.5:
            return float(rng.uniform(-LARGEST_ROLL_DEGREES, LARGEST_ROLL_DEGREES))
        return roll

    def moved_head(self, rng: np.random.Generator, view: View) -> View:
        """Return the view with its head moved, if heads are and it has a mesh."""
        pose, expressions = self.options.has("head-pose"), self.options.has("expressions")
        if not (pose or expressions) or view.mesh is None:
            return view
        return _moved(view, sample_head_motion(rng, pose=pose, expressions=expressions))

    def recipe(self, rng: np.random.Generator, strength: float) -> ForgeryRecipe:
        """Draw a recipe among the kinds that are on."""
        return sample_recipe(rng, strength, kinds=self.options.kinds, temporal=self.options.temporal)

    def edits(self, rng: np.random.Generator) -> EditedPair:
        """Draw the edits of a pair, and what of them comes before the forgery."""
        if not self.options.has("edits"):
            return EditedPair()
        edits = sample_edits(rng)
        if rng.uniform() < 0.5:
            return EditedPair(last=edits)
        return EditedPair(replace(edits, overlays=()), Edits(overlays=edits.overlays))

    def degradation(self, rng: np.random.Generator, amount: float = 1.0, *, view_scale: float) -> Degradation:
        """Draw a degradation whose codec is there.

        Motion blurs a face as much however large the view around it is: `view_scale` times its crop.
        """
        drawn = sample_degradation(
            rng,
            amount,
            heavy_compression=self.options.has("heavy-compression"),
            motion_blur=self.options.has("motion-blur"),
        )
        if drawn.motion_blur:
            drawn = replace(drawn, motion_blur=drawn.motion_blur.scaled(VIEW_PER_CROP / view_scale))
        return replace_missing_codec(drawn)

    def turned_path(
        self, rng: np.random.Generator, path: list[Placement], fixed: FixedPose | None
    ) -> list[Placement]:
        """Roll and mirror the whole path: as it is fixed, or as drawn where heads take poses."""
        if fixed:
            return turn_path(path, roll_degrees=fixed.roll_degrees, mirrored=fixed.mirrored)
        if not self.options.has("head-pose"):
            return path
        roll = float(rng.uniform(-LARGEST_ROLL_DEGREES, LARGEST_ROLL_DEGREES))
        turned, mirrored = rng.uniform(size=2) < 0.5
        return turn_path(path, roll_degrees=roll if turned else 0.0, mirrored=bool(mirrored))

    def moved_heads(self, rng: np.random.Generator, views: list[View], fixed: FixedPose | None) -> list[View]:
        """Return the views of a clip with their heads moved smoothly, or as is fixed."""
        if fixed:
            return [_moved(view, fixed.motion) for view in views] if fixed.motion else views
        pose, expressions = self.options.has("head-pose"), self.options.has("expressions")
        if not (pose or expressions) or any(view.mesh is None for view in views):
            return views
        motions = sample_head_path(rng, len(views), pose=pose, expressions=expressions)
        return [_moved(view, motion) for view, motion in zip(views, motions, strict=True)]


def _moved(view: View, motion: HeadMotion) -> View:
    """Return the view with its head moved; as it is where it has no mesh."""
    if view.mesh is None:
        return view
    moved = move_head(view.pixels, view.mesh, motion, landmarks=view.landmarks, box=view.box)
    return View(moved.pixels, moved.box, moved.landmarks, moved.mesh)

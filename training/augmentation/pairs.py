"""Real–fake pairs drawn from a seed: single crops for the backbone, and whole clips for the LSTM."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from deepfake_triton.arrays import Frames, Image
from deepfake_triton.preprocessing.crops import CropRule, crop_face
from deepfake_triton.training.augmentation.augment import (
    augment_portrait,
    move_face,
    render_varied_view,
    sample_variation,
)
from deepfake_triton.training.augmentation.camera_motion import (
    Placement,
    View,
    render_view,
    restore_landmark_order,
    sample_camera_path,
    view_matrix,
)
from deepfake_triton.training.augmentation.codec import h264_round_trip
from deepfake_triton.training.augmentation.degradations import (
    Degradation,
    degrade,
    degrade_alike,
    degrade_before_codec,
)
from deepfake_triton.training.augmentation.pair_draws import PairDraws
from deepfake_triton.training.augmentation.pair_options import FixedPose, PairOptions
from deepfake_triton.training.augmentation.stills import StillPair, compress_stills, sample_crop_move
from deepfake_triton.training.faces.portraits import Portrait
from deepfake_triton.training.forgery.blending import Donor, forge_frame, forge_with_mask
from deepfake_triton.training.forgery.recipe import ForgeryRecipe

SMALLEST_CROP_PX, LARGEST_CROP_PX = 52.0, 240.0


@dataclass(frozen=True)
class ClipPair:
    """A real clip and its fake counterpart: crops [T, S, S, 3] uint8 RGB each, and how they were made."""

    real: Frames
    fake: Frames
    recipe: ForgeryRecipe
    degradation: Degradation


@dataclass(frozen=True)
class ScenePair:
    """Views of a portrait under a moving camera, and their fake counterparts.

    `fakes` are [S, S, 3] uint8 RGB; neither is degraded yet.
    """

    views: tuple[View, ...]
    fakes: tuple[Image, ...]
    recipe: ForgeryRecipe


class PairSampler:
    """Sampler of real–fake pairs from portraits; a draw depends on the given generator only."""

    def __init__(
        self, portraits: Sequence[Portrait], rule: CropRule, *, options: PairOptions | None = None
    ) -> None:
        self.portraits = portraits
        self.rule = rule
        self.options = options or PairOptions()
        self.draws = PairDraws(self.options)

    def draw_stills(self, rng: np.random.Generator, pairs: int, strength: float = 1.0) -> list[StillPair]:
        """Draw `pairs` compressed pictures of a face and its fake counterpart, to be cut by `cut_batch`."""
        stills = [self._draw_still(rng, strength) for _ in range(pairs)]
        return compress_stills(rng, stills, heavy=self.options.has("heavy-compression"))

    def _draw_still(self, rng: np.random.Generator, strength: float) -> StillPair:
        portrait = self.portraits[int(rng.integers(len(self.portraits)))]
        variation = sample_variation(rng, portrait)
        moved = move_face(portrait, variation)
        crop_px = self._draw_crop_px(rng)
        face_px = crop_px / (1 + 2 * self.rule.margin)
        side = int(self.draws.view_scale * crop_px)
        mirrored = bool(rng.uniform() < 0.5)
        placement = Placement(
            face_px=face_px,
            center=(side / 2, side / 2),
            rotation_degrees=self.draws.roll(rng, 6),
            stretch=(float(np.exp(rng.normal(0, 0.06))), float(rng.normal(0, 0.04))),
            mirrored=mirrored,
        )
        view = render_varied_view(moved, variation, matrix=view_matrix(moved, placement), size=(side, side))
        view = replace(view, landmarks=restore_landmark_order(view.landmarks, mirrored))
        view = self.draws.moved_head(rng, view)
        recipe = self.draws.recipe(rng, strength)
        donor = self.draw_donor(rng, portrait) if recipe.needs_donor else None
        edited = self.draws.edits(rng)
        pixels = edited.before(view.pixels, view.landmarks)
        forged, coverage = forge_with_mask(pixels, view.landmarks, recipe, donor=donor)
        degradation = self.draws.degradation(rng, view_scale=self.draws.view_scale)
        seed = int(rng.integers(2**31))
        real, fake = degrade_alike(edited.after([pixels, forged], view.landmarks), degradation, seed)
        return StillPair(
            real=real,
            fake=fake,
            box=view.box,
            move=sample_crop_move(rng, face_px),
            degradation=degradation,
            mask_coverage=coverage,
            scale=real.shape[1] / side,
        )

    def _draw_crop_px(self, rng: np.random.Generator) -> float:
        return float(np.exp(rng.uniform(np.log(SMALLEST_CROP_PX), np.log(LARGEST_CROP_PX))))

    def draw_donor(self, rng: np.random.Generator, portrait: Portrait) -> Donor:
        """Draw another person's face; the same person's when there is no other."""
        other = portrait
        for index in rng.integers(len(self.portraits), size=16):
            other = self.portraits[int(index)]
            if other.identity != portrait.identity:
                break
        return Donor(other.pixels, other.landmarks)

    def draw_scene(
        self,
        rng: np.random.Generator,
        portrait: Portrait,
        *,
        num_frames: int,
        face_px: float,
        side: int,
        strength: float = 1.0,
        fixed: FixedPose | None = None,
    ) -> ScenePair:
        """Render and forge `num_frames` frames of a camera moving in front of the portrait.

        The frames are `side` px square. A `fixed` pose takes the place of the drawn one.
        """
        size = (side, side)
        path = sample_camera_path(rng, num_frames, face_px=face_px, size=size)
        path = self.draws.turned_path(rng, path, fixed)
        views = [_view(portrait, placement, size) for placement in path]
        views = self.draws.moved_heads(rng, views, fixed)
        recipe = self.draws.recipe(rng, strength)
        donor = self.draw_donor(rng, portrait) if recipe.needs_donor else None
        edited = self.draws.edits(rng)
        views = [replace(view, pixels=edited.before(view.pixels, view.landmarks)) for view in views]
        fakes = tuple(
            forge_frame(view.pixels, view.landmarks, recipe, frame_index=index, donor=donor)
            for index, view in enumerate(views)
        )
        pairs = edited.after_frames(
            [[view.pixels, fake] for view, fake in zip(views, fakes, strict=True)],
            [view.landmarks for view in views],
        )
        views = [replace(view, pixels=pair[0]) for view, pair in zip(views, pairs, strict=True)]
        return ScenePair(tuple(views), tuple(pair[1] for pair in pairs), recipe)

    def draw_clip(
        self,
        rng: np.random.Generator,
        portrait: Portrait,
        num_frames: int,
        *,
        strength: float = 1.0,
        degradation_amount: float = 1.0,
    ) -> ClipPair:
        """Draw a clip of the portrait under a moving camera, and its fake counterpart.

        Both pass through the same degradation and codec.
        """
        crop_px = self._draw_crop_px(rng)
        face_px = crop_px / (1 + 2 * self.rule.margin)
        side = 2 * int(0.65 * crop_px)
        portrait = augment_portrait(rng, portrait)
        scene = self.draw_scene(
            rng, portrait, num_frames=num_frames, face_px=face_px, side=side, strength=strength
        )
        degradation = self.draws.degradation(rng, degradation_amount, view_scale=side / crop_px)
        seeds = rng.integers(2**31, size=num_frames).tolist()
        real, fake = (
            _degrade_clip(images, degradation, seeds)
            for images in ([view.pixels for view in scene.views], scene.fakes)
        )
        shift = face_px * rng.normal(0, 0.01, (num_frames, 4))
        scale = real[0].shape[1] / side
        boxes = [(view.box + move) * scale for view, move in zip(scene.views, shift, strict=True)]
        real_crops, fake_crops = (
            np.stack([crop_face(frame, box, self.rule) for frame, box in zip(frames, boxes, strict=True)])
            for frames in (real, fake)
        )
        return ClipPair(real_crops, fake_crops, scene.recipe, degradation)


def _view(portrait: Portrait, placement: Placement, size: tuple[int, int]) -> View:
    view = render_view(portrait, view_matrix(portrait, placement), size)
    return replace(view, landmarks=restore_landmark_order(view.landmarks, placement.mirrored))


def _degrade_clip(images: Sequence[Image], degradation: Degradation, seeds: Sequence[int]) -> list[Image]:
    """Degrade the frames of a clip, each with the noise of its own seed."""
    if degradation.h264_crf is None:
        return [degrade(image, degradation, seed) for image, seed in zip(images, seeds, strict=True)]
    encoded = [
        degrade_before_codec(image, degradation, seed) for image, seed in zip(images, seeds, strict=True)
    ]
    return list(h264_round_trip(encoded, degradation.h264_crf))

"""Pairs of a real face and its forged twin, drawn from a seed: single crops for the backbone, and clips."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from deepfake_triton.preprocessing.crops import CropRule, crop_face
from deepfake_triton.training.codec import h264_of_stills, h264_round_trip
from deepfake_triton.training.degradations import (
    Degradation,
    before_codec,
    degraded,
    sampled_crf,
    sampled_degradation,
)
from deepfake_triton.training.forgeries import ForgeryRecipe, forge_frame, forge_with_mask, sampled_recipe
from deepfake_triton.training.motion import View, placed, sampled_path, unmirrored, view_of
from deepfake_triton.training.portraits import Portrait
from deepfake_triton.training.variety import hole, varied

Picture = npt.NDArray[np.uint8]
Points = npt.NDArray[np.float64]

SMALLEST_CROP_PX, LARGEST_CROP_PX = 52.0, 240.0
CODEC_GROUPS = 2
HOLE_SHARE = 0.15


@dataclass(frozen=True)
class ClipPair:
    """A real clip and its forged twin: crops [T, S, S, 3] uint8 RGB each, and how the twin was forged."""

    real: Picture
    fake: Picture
    recipe: ForgeryRecipe
    degradation: Degradation


@dataclass(frozen=True)
class CropBatch:
    """Crops [N, S, S, 3] uint8 RGB, their labels [N] (0 real, 1 fake) and, where that is known, how much of
    each pixel is forged, [N, S, S] uint8 in 0…255."""

    crops: Picture
    labels: npt.NDArray[np.int64]
    forged: Picture | None = None


class PairSampler:
    """Draws pairs from portraits; what is drawn depends on the generator given and on nothing else."""

    def __init__(self, portraits: Sequence[Portrait], rule: CropRule) -> None:
        self.portraits = portraits
        self.rule = rule

    def crops(self, rng: np.random.Generator, pairs: int, strength: float = 1.0) -> CropBatch:
        """`pairs` real crops, then their forged twins in the same order."""
        drawn = [self._still(rng, strength) for _ in range(pairs)]
        crfs = sorted(sampled_crf(rng) for _ in range(CODEC_GROUPS))
        compressed = [i for i, each in enumerate(drawn) if each.degradation.h264_crf is not None]
        for group, crf in enumerate(crfs):
            members = compressed[group::CODEC_GROUPS]
            if members:
                stills = h264_of_stills([p for i in members for p in (drawn[i].real, drawn[i].fake)], crf)
                for i, real, fake in zip(members, stills[::2], stills[1::2], strict=True):
                    drawn[i] = replace(drawn[i], real=real, fake=fake)
        crops = [crop_face(each.real, each.box, self.rule) for each in drawn]
        crops += [crop_face(each.fake, each.box, self.rule) for each in drawn]
        for real, fake in zip(crops[:pairs], crops[pairs:], strict=True):
            if rng.uniform() < HOLE_SHARE:
                rows, columns, colour = hole(rng, self.rule.side)
                real[rows, columns] = fake[rows, columns] = colour
        masks = [crop_face(np.dstack([each.share] * 3), each.share_box, self.rule)[..., 0] for each in drawn]
        forged = np.stack([np.zeros_like(mask) for mask in masks] + masks)
        return CropBatch(np.stack(crops), np.repeat([0, 1], pairs), forged)

    def _still(self, rng: np.random.Generator, strength: float) -> _StillPair:
        portrait = varied(rng, self.portraits[int(rng.integers(len(self.portraits)))])
        crop_px = float(np.exp(rng.uniform(np.log(SMALLEST_CROP_PX), np.log(LARGEST_CROP_PX))))
        face_px = crop_px / (1 + 2 * self.rule.margin)
        side = int(1.15 * crop_px)
        mirrored = bool(rng.uniform() < 0.5)
        place = placed(
            portrait,
            face_px,
            (side / 2, side / 2),
            float(rng.normal(0, 6)),
            (float(np.exp(rng.normal(0, 0.06))), float(rng.normal(0, 0.04))),
            mirrored,
        )
        view = view_of(portrait, place, (side, side))
        recipe = sampled_recipe(rng, strength)
        fake, share = self._forged(rng, portrait, view, mirrored, recipe)
        degradation = sampled_degradation(rng)
        seed = int(rng.integers(2**31))
        real, forged = (degraded(picture, degradation, seed) for picture in (view.pixels, fake))
        shift = face_px * rng.normal(0, 0.02, 2)
        grow = face_px * rng.normal(0, 0.02)
        box = view.box + np.concatenate([shift - grow, shift + grow])
        return _StillPair(real, forged, box * (real.shape[1] / side), degradation, share, box)

    def _forged(
        self,
        rng: np.random.Generator,
        portrait: Portrait,
        view: View,
        mirrored: bool,
        recipe: ForgeryRecipe,
    ) -> tuple[Picture, Picture]:
        donor = self.donor_for(rng, portrait) if recipe.kind == "swap" else None
        landmarks = unmirrored(view.landmarks, mirrored)
        return forge_with_mask(view.pixels, landmarks, recipe, 0, donor)

    def donor_for(self, rng: np.random.Generator, portrait: Portrait) -> tuple[Picture, Points]:
        """Another person's picture and landmarks; the same person's when there is no other."""
        other = portrait
        for index in rng.integers(len(self.portraits), size=16):
            other = self.portraits[int(index)]
            if other.identity != portrait.identity:
                break
        return other.pixels, other.landmarks

    def scene(
        self,
        rng: np.random.Generator,
        portrait: Portrait,
        num_frames: int,
        face_px: float,
        side: int,
        strength: float = 1.0,
    ) -> tuple[list[View], list[Picture], ForgeryRecipe]:
        """The frames, `side` px square, of a camera that moves before the portrait, their forged twins, and
        how those were forged; nothing is degraded yet."""
        size = (side, side)
        path = sampled_path(rng, num_frames, face_px, size)
        views = [view_of(portrait, placed(portrait, **step), size) for step in path]  # type: ignore[arg-type]
        recipe = sampled_recipe(rng, strength)
        donor = self.donor_for(rng, portrait) if recipe.kind == "swap" else None
        fakes = [forge_frame(v.pixels, v.landmarks, recipe, index, donor) for index, v in enumerate(views)]
        return views, fakes, recipe

    def clip(
        self,
        rng: np.random.Generator,
        portrait: Portrait,
        num_frames: int,
        strength: float = 1.0,
        degradation_amount: float = 1.0,
    ) -> ClipPair:
        """A clip of the portrait under a moving camera, and its twin, after the same codec."""
        crop_px = float(np.exp(rng.uniform(np.log(SMALLEST_CROP_PX), np.log(LARGEST_CROP_PX))))
        face_px = crop_px / (1 + 2 * self.rule.margin)
        side = 2 * int(0.65 * crop_px)
        portrait = varied(rng, portrait)
        views, fakes, recipe = self.scene(rng, portrait, num_frames, face_px, side, strength)
        degradation = sampled_degradation(rng, degradation_amount)
        seeds = rng.integers(2**31, size=num_frames)
        both = []
        for pictures in ([view.pixels for view in views], fakes):
            if degradation.h264_crf is None:
                frames = [degraded(p, degradation, int(s)) for p, s in zip(pictures, seeds, strict=True)]
            else:
                sent = [before_codec(p, degradation, int(s)) for p, s in zip(pictures, seeds, strict=True)]
                frames = list(h264_round_trip(sent, degradation.h264_crf))
            both.append(frames)
        shift = face_px * rng.normal(0, 0.01, (num_frames, 4))
        shrink = both[0][0].shape[1] / side
        boxes = [(view.box + move) * shrink for view, move in zip(views, shift, strict=True)]
        real, fake = (
            np.stack([crop_face(f, box, self.rule) for f, box in zip(frames, boxes, strict=True)])
            for frames in both
        )
        return ClipPair(real, fake, recipe, degradation)


@dataclass(frozen=True)
class _StillPair:
    """`share` of the twin that is forged, and the face's `share_box` in it, are as before the degradation."""

    real: Picture
    fake: Picture
    box: Points
    degradation: Degradation
    share: Picture
    share_box: Points

"""Draw the parameters of pairs with the functions that draw those of the CPU's pairs, but no picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from deepfake_triton.preprocessing.crops import CropRule
from deepfake_triton.training.augmentation.augment import Variation, sample_cutout, sample_variation
from deepfake_triton.training.augmentation.camera_motion import Placement
from deepfake_triton.training.augmentation.degradations import Degradation, sample_degradation
from deepfake_triton.training.augmentation.pair_draws import PairDraws
from deepfake_triton.training.augmentation.pair_options import PairOptions
from deepfake_triton.training.augmentation.pairs import LARGEST_CROP_PX, SMALLEST_CROP_PX
from deepfake_triton.training.augmentation.stills import CUTOUT_PROBABILITY, sample_crop_move
from deepfake_triton.training.device.pair_table import SKIN_SHIFTS, PairTable, Values, pack_row
from deepfake_triton.training.faces.portraits import Portrait
from deepfake_triton.training.forgery.kinds import CLASSIC_KINDS
from deepfake_triton.training.forgery.masks import REGIONS
from deepfake_triton.training.forgery.recipe import ForgeryRecipe

SIZE_BUCKETS = 4
_EDGES = np.exp(np.linspace(np.log(SMALLEST_CROP_PX), np.log(LARGEST_CROP_PX), SIZE_BUCKETS + 1))

_NO_HOLE: dict[str, npt.ArrayLike] = {"hole": np.zeros(4), "hole_color": np.zeros(3)}


def size_buckets(table: PairTable, rule: CropRule) -> npt.NDArray[np.int64]:
    """Return the bucket of sizes [N] that each pair belongs to."""
    crop_px = table["face_px"] * (1 + 2 * rule.margin)
    return np.searchsorted(_EDGES[1:-1], crop_px).astype(np.int64)


def largest_crop_px(bucket: int) -> float:
    """Return the upper end of a bucket's sizes of crops."""
    return float(_EDGES[bucket + 1])


class PairDrawer:
    """Drawer of pairs' parameters, light enough to be sent to worker processes.

    Of the `options`, edits, moved heads and forgeries without a border are left to the CPU's pairs.
    """

    def __init__(self, faces: Sequence[Portrait], rule: CropRule, options: PairOptions) -> None:
        """Draw from `faces`, those of a `PortraitBank`. Raises ValueError when all forgeries are left out."""
        self.faces, self.rule = faces, rule
        kinds = tuple(kind for kind in options.kinds if kind in CLASSIC_KINDS)
        if not kinds:
            raise ValueError(f"kinds: got {options.kinds}, expected one of {CLASSIC_KINDS}; name one")
        self.options = replace(options, kinds=kinds)

    def draw(self, rng: np.random.Generator, pairs: int, strength: float) -> PairTable:
        """Draw `pairs` rows, of each bucket of sizes in turn."""
        rows = [self._draw_row(rng, strength, row % SIZE_BUCKETS) for row in range(pairs)]
        return PairTable(np.stack(rows), int(rng.integers(2**31)))

    def _draw_row(self, rng: np.random.Generator, strength: float, bucket: int) -> Values:
        draws = PairDraws(self.options)
        number = int(rng.integers(len(self.faces)))
        variation = sample_variation(rng, self.faces[number])
        crop_px = float(np.exp(rng.uniform(*np.log(_EDGES[bucket : bucket + 2]))))
        face_px = crop_px / (1 + 2 * self.rule.margin)
        mirrored = bool(rng.uniform() < 0.5)
        placement = Placement(
            face_px=face_px,
            center=(0.0, 0.0),
            rotation_degrees=draws.roll(rng, 6),
            stretch=(float(np.exp(rng.normal(0, 0.06))), float(rng.normal(0, 0.04))),
            mirrored=mirrored,
        )
        recipe = draws.recipe(rng, strength)
        degradation = sample_degradation(
            rng,
            heavy_compression=self.options.has("heavy-compression"),
            motion_blur=self.options.has("motion-blur"),
        )
        move = sample_crop_move(rng, face_px)
        hole = self._draw_hole(rng) if rng.uniform() < CUTOUT_PROBABILITY else _NO_HOLE
        donor = self._draw_donor(rng, number) if recipe.kind == "swap" else number
        return pack_row(
            view_parameters(variation, placement)
            | forgery_parameters(recipe)
            | degradation_parameters(degradation)
            | hole
            | {"portrait": number, "donor": donor, "move": move}
        )

    def _draw_hole(self, rng: np.random.Generator) -> dict[str, npt.ArrayLike]:
        rows, columns, color = sample_cutout(rng, self.rule.side)
        sides = [rows.start, rows.stop, columns.start, columns.stop]
        return {"hole": np.array(sides, float), "hole_color": color}

    def _draw_donor(self, rng: np.random.Generator, number: int) -> int:
        """Draw another person's face; the same person's when there is no other."""
        for other in rng.integers(len(self.faces), size=16).tolist():
            if self.faces[other].identity != self.faces[number].identity:
                return int(other)
        return number


def view_parameters(variation: Variation, placement: Placement) -> dict[str, npt.ArrayLike]:
    """Return the columns of a view; the center of its placement is not among them."""
    return {
        "warp": variation.warp,
        "gain": variation.gain,
        "face_px": placement.face_px,
        "rotation": placement.rotation_degrees,
        "stretch": placement.stretch,
        "mirrored": placement.mirrored,
    }


def forgery_parameters(recipe: ForgeryRecipe, frame_index: int = 0) -> dict[str, npt.ArrayLike]:
    """Return the columns of a forgery as it is in one frame."""
    change = recipe.change_at(frame_index)
    waves, faults = change.waves, change.faults
    skin_shifts = np.zeros((SKIN_SHIFTS, 4))
    if recipe.skin_shifts is not None:
        skin_shifts[: len(recipe.skin_shifts)] = recipe.skin_shifts
    matrix = recipe.color_jitter.matrix()
    matrix[:, :3] *= (1 + 0.03 * waves[3]) * (np.array(faults.gain) if faults else 1)
    opacity = recipe.opacity * (1 - 0.15 * abs(waves[7])) * (faults.opacity if faults else 1)
    return {
        "region": REGIONS.index(recipe.mask.region),
        "bend": recipe.mask.bend + 0.03 * waves[:2],
        "grow": recipe.mask.grow * (1 + 0.03 * waves[2]),
        "blur": recipe.mask.blur,
        "erode": recipe.mask.erode,
        "waves": waves,
        "color_matrix": matrix,
        "gamma": recipe.color_jitter.gamma,
        "shift": np.array(recipe.shift) + 0.025 * waves[5:7],
        "scale": recipe.scale * (1 + 0.008 * waves[4]),
        "turn": recipe.rotation_degrees + 0.7 * waves[4],
        "skin_shifts": skin_shifts * [1, 1, 1 + 0.8 * waves[6], 1 + 0.8 * waves[6]],
        "low_px": recipe.face_px or 0.0,
        "checkerboard": recipe.checkerboard,
        "sharpen": recipe.sharpen,
        "forged_noise": recipe.noise,
        "opacity": np.clip(opacity, 0, 1),
        "is_swap": recipe.kind == "swap",
        "transfers_colors": recipe.kind == "swap" and recipe.color_transfer,
    }


def degradation_parameters(degradation: Degradation) -> dict[str, npt.ArrayLike]:
    """Return the columns of a degradation."""
    earlier, blur = degradation.earlier, degradation.motion_blur
    return {
        "all_color_matrix": degradation.color_jitter.matrix(),
        "all_gamma": degradation.color_jitter.gamma,
        "earlier_quality": earlier.jpeg_quality if earlier else 0,
        "earlier_scale": earlier.scale if earlier else 1,
        "all_scale": degradation.scale,
        "blur_px": degradation.blur_px,
        "noise": degradation.noise,
        "chroma_scale": degradation.chroma_scale,
        "jpeg_quality": degradation.jpeg_quality or 0,
        "h264_crf": degradation.h264_crf or 0,
        "motion_blur": (
            (blur.length, blur.angle_degrees, blur.bend_degrees, blur.defocus) if blur else np.zeros(4)
        ),
    }

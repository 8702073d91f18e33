"""Regenerated faces: the whole aligned face, with forehead and jaw, as a small network redraws it.

The redrawn face fades into the picture over hair and background, or is all of the picture around the face, as
one-shot swaps and portrait animations make it: soft skin, details slightly wrong, and no border.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

from deepfake_triton.arrays import Image
from deepfake_triton.training.forgery.aligned_square import (
    SQUARE_CENTER,
    SQUARE_SIDE,
    face_coordinates,
    resize_square,
    square_landmarks,
)
from deepfake_triton.training.forgery.colors import transfer_colors
from deepfake_triton.training.forgery.masks import MaskShape, draw_mask
from deepfake_triton.training.forgery.regenerators.specs import REGENERATORS, SPECS, RegeneratorName

Extent = Literal["head", "square"]
_Weights = npt.NDArray[np.float32]

_HEAD_CENTER, _HEAD_HALVES = np.array([0.0, 0.38]), np.array([1.18, 1.5])  # in face coordinates
_WARP_GRID = 5
_CORRECTION_SIGMA, _CORRECTION_PX = 0.3, 32  # in eye distances, and of the square that it works on


@dataclass(frozen=True)
class Regeneration:
    """How a face is redrawn.

    `network` redraws an `extent` of the aligned square that fades over `fade` eye distances. Before, the
    square is warped by `warp` [5, 5, 2] eye distances, another person's face is put into it if
    `other_person`, and noise with a standard deviation of `noise` gray levels is added in each frame anew.
    """

    network: RegeneratorName
    extent: Extent
    fade: float
    warp: npt.NDArray[np.float64]
    other_person: bool = False
    noise: float = 0.0


def sample_regeneration(rng: np.random.Generator, strength: float) -> Regeneration:
    """Draw how a face is redrawn; `strength` scales the wrong geometry."""
    return Regeneration(
        network=REGENERATORS[int(rng.integers(len(REGENERATORS)))],
        extent="head" if rng.random() < 0.6 else "square",
        fade=float(rng.uniform(0.25, 0.5)),
        warp=strength * rng.uniform(0, 0.05) * rng.standard_normal((_WARP_GRID, _WARP_GRID, 2)),
        other_person=bool(rng.random() < 0.4),
        noise=float(rng.uniform(1, 5)) if rng.random() < 0.3 else 0.0,
    )


def regenerate_square(
    face: Image, source: Image, regeneration: Regeneration, *, noise_rng: np.random.Generator
) -> tuple[Image, _Weights]:
    """Redraw `source`, an aligned square [S, S, 3] uint8 RGB; returns it and its weights [S, S] over `face`.

    S is the network's output side. Where the redrawn face fades, its low frequencies are those of `face`, so
    that no border shows.
    """
    side_px = len(face)
    weights = fading_weights(regeneration.extent, regeneration.fade, side_px)
    warped = warp_square(source, regeneration.warp, weights)
    redrawn = redraw(warped, regeneration.network, noise=regeneration.noise, noise_rng=noise_rng)
    return match_at_the_rim(redrawn, face, weights), weights


def redraw(square: Image, network: RegeneratorName, *, noise: float, noise_rng: np.random.Generator) -> Image:
    """Redraw a square by a network of that output side."""
    from deepfake_triton.training.forgery.regenerators.networks import redraw_face  # torch

    small = resize_square(square, SPECS[network].input_px)
    if noise:
        noisy = small + noise * noise_rng.standard_normal(small.shape, np.float32)
        small = np.clip(np.rint(noisy), 0, 255).astype(np.uint8)
    return redraw_face(small, network)


def put_other_person(face: Image, donor_face: Image, mask: MaskShape) -> Image:
    """Put another person's aligned face into an aligned square [S, S, 3] uint8 RGB, in its colors."""
    side_px = len(face)
    weights = draw_mask(mask, square_landmarks(side_px), (side_px, side_px))
    matched = transfer_colors(donor_face, face, weights)
    mixed = face + weights[:, :, None] * (matched.astype(np.float32) - face)
    return (mixed + 0.5).astype(np.uint8)


def fading_weights(extent: Extent, fade: float, side_px: int) -> _Weights:
    """Return the weights [S, S] float32 in 0…1 of a redrawn square: 0 at its edges, 1 over the face."""
    x, y = face_coordinates(side_px)
    edges = np.float32(SQUARE_SIDE / 2) - np.maximum(abs(x - SQUARE_CENTER[0]), abs(y - SQUARE_CENTER[1]))
    if extent == "head":
        radius = np.hypot((x - _HEAD_CENTER[0]) / _HEAD_HALVES[0], (y - _HEAD_CENTER[1]) / _HEAD_HALVES[1])
        # About the distance to an ellipse's outline, plus what fades on either side of it.
        edges = np.minimum(edges, (1 - radius) * _HEAD_HALVES.mean() + fade / 2)
    along = np.clip(edges / fade, 0, 1)
    return np.asarray(along * along * (3 - 2 * along), np.float32)


def warp_square(square: Image, grid: npt.NDArray[np.float64], weights: _Weights) -> Image:
    """Displace an aligned square by a `grid` [G, G, 2] of eye distances, less where its weights fade."""
    side_px = len(square)
    field = cv2.resize(grid.astype(np.float32), (side_px, side_px), interpolation=cv2.INTER_CUBIC)
    field = field * (weights * np.float32(side_px / SQUARE_SIDE))[:, :, None]
    at = np.arange(side_px, dtype=np.float32)
    moved = cv2.remap(
        square,
        at + field[:, :, 0],
        at[:, None] + field[:, :, 1],
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return np.asarray(moved, np.uint8)


def match_at_the_rim(redrawn: Image, face: Image, weights: _Weights) -> Image:
    """Add to a redrawn square the low frequencies that it lacks where it fades, and inward from there.

    A cheap form of Pérez, Gangnet & Blake, *Poisson Image Editing*, 2003: the difference at the rim is
    continued inward by normalized convolution.
    """
    side_px = len(face)
    rim = weights * (1 - weights) + np.float32(1e-3)
    # Low frequencies need few pixels.
    small = (_CORRECTION_PX, _CORRECTION_PX)
    difference = cv2.subtract(face, redrawn, dtype=cv2.CV_32F) * rim[:, :, None]
    sigma_px = _CORRECTION_SIGMA * _CORRECTION_PX / SQUARE_SIDE
    total, amount = (
        cv2.GaussianBlur(cv2.resize(values, small, interpolation=cv2.INTER_AREA), (0, 0), sigma_px)
        for values in (difference, rim)
    )
    spread = cv2.resize(total / amount[..., None], (side_px, side_px), interpolation=cv2.INTER_CUBIC)
    return np.asarray(np.clip(np.rint(redrawn + spread), 0, 255), np.uint8)

"""Edits of whole pictures that real people make: smoothing, sharpening, light, filters, text and stickers.

A real picture and its fake counterpart get the same, so that an edit says nothing about the label.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from deepfake_triton.arrays import Image, Points
from deepfake_triton.training.augmentation.edits.overlay import Overlay, draw_overlays, sample_overlay
from deepfake_triton.training.augmentation.edits.skin import (
    SkinSmoothing,
    sample_skin_smoothing,
    smooth_skin,
)
from deepfake_triton.training.augmentation.edits.tone import (
    LocalContrast,
    PhotoFilter,
    Relighting,
    Sharpening,
    amplify_local_contrast,
    apply_photo_filter,
    relight,
    sample_local_contrast,
    sample_photo_filter,
    sample_relighting,
    sample_sharpening,
    sharpen,
)

NOTHING_PROBABILITY = 0.5
_SECOND_PROBABILITY = 0.35


@dataclass(frozen=True)
class Edits:
    """Edits of a picture, in the order they are applied; `overlays` lie over all else."""

    relighting: Relighting | None = None
    smoothing: SkinSmoothing | None = None
    photo_filter: PhotoFilter | None = None
    local_contrast: LocalContrast | None = None
    sharpening: Sharpening | None = None
    overlays: tuple[Overlay, ...] = ()


def sample_overlays(rng: np.random.Generator) -> tuple[Overlay, ...]:
    """Draw one overlay, or two."""
    return tuple(sample_overlay(rng) for _ in range(1 if rng.uniform() < 0.7 else 2))


_SAMPLERS: dict[str, tuple[float, Callable[[np.random.Generator], Any]]] = {
    "smoothing": (0.27, sample_skin_smoothing),
    "relighting": (0.2, sample_relighting),
    "overlays": (0.25, sample_overlays),
    "sharpening": (0.13, sample_sharpening),
    "photo_filter": (0.12, sample_photo_filter),
    "local_contrast": (0.08, sample_local_contrast),
}


def sample_edits(rng: np.random.Generator) -> Edits:
    """Draw edits: none in half of the cases, else one or two of different kinds."""
    if rng.uniform() < NOTHING_PROBABILITY:
        return Edits()
    left = dict(_SAMPLERS)
    drawn = {}
    for _ in range(2 if rng.uniform() < _SECOND_PROBABILITY else 1):
        share = np.cumsum([weight for weight, _ in left.values()])
        name = list(left)[int(np.searchsorted(share / share[-1], rng.random(), side="right"))]
        drawn[name] = left.pop(name)[1](rng)
    return Edits(**drawn)


def apply_edits(images: Sequence[Image], edits: Edits, *, landmarks: Points) -> list[Image]:
    """Apply edits to images [H, W, 3] uint8 RGB of one size with the face at `landmarks` [5, 2] px.

    All images get the same: where skin is, is taken from the first one. Local contrast alone is measured in
    each.
    """
    out = list(images)
    if edits.relighting:
        out = relight(out, edits.relighting, landmarks)
    if edits.smoothing:
        out = smooth_skin(out, edits.smoothing, landmarks)
    if edits.photo_filter:
        out = apply_photo_filter(out, edits.photo_filter)
    if edits.local_contrast:
        out = amplify_local_contrast(out, edits.local_contrast, landmarks)
    if edits.sharpening:
        out = sharpen(out, edits.sharpening, landmarks)
    if edits.overlays:
        out = draw_overlays(out, edits.overlays, landmarks)
    return out

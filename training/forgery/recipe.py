"""Forgery recipes: the random choices of a forgery, drawn once for all frames of a clip.

Frames differ only by the recipe's temporal jitter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from deepfake_triton.training.forgery.blotches import Blotches, sample_blotches
from deepfake_triton.training.forgery.colors import ColorJitter, sample_color_jitter
from deepfake_triton.training.forgery.kinds import CLASSIC_KINDS, KINDS, Kind
from deepfake_triton.training.forgery.masks import MaskShape, Region
from deepfake_triton.training.forgery.mouth_rendering import MouthRendering, sample_mouth_rendering
from deepfake_triton.training.forgery.regeneration import Regeneration, sample_regeneration
from deepfake_triton.training.forgery.temporal import (
    FrameFaults,
    TemporalFaults,
    TemporalJitter,
    sample_temporal_faults,
    sample_temporal_jitter,
)

Value = TypeVar("Value")
_REGION_WEIGHTS: dict[Kind, tuple[tuple[Region, float], ...]] = {
    "self-blend": (
        ("brows-to-chin", 4),
        ("face", 2),
        ("inner", 2),
        ("eyes", 0.7),
        ("nose", 0.3),
        ("lower", 1),
    ),
    "reenact": (("face", 2), ("brows-to-chin", 3), ("inner", 2)),
    "mouth": (("lower", 3), ("mouth", 2)),
    "swap": (("brows-to-chin", 4), ("face", 2), ("inner", 3)),
    "regenerate": (("brows-to-chin", 2), ("inner", 3)),  # of another person's face, without the hair
    "render-mouth": (("lower", 1),),
    "blotches": (("face", 2), ("brows-to-chin", 2), ("inner", 1)),
}
_CLASSIC_PROBABILITIES: dict[Kind, float] = {"self-blend": 0.45, "reenact": 0.15, "mouth": 0.15, "swap": 0.25}
_PROBABILITIES: dict[Kind, float] = {
    "self-blend": 0.27,
    "reenact": 0.1,
    "mouth": 0.1,
    "swap": 0.2,
    "regenerate": 0.18,
    "render-mouth": 0.1,
    "blotches": 0.05,
}


@dataclass(frozen=True)
class FrameChange:
    """What one frame adds to a recipe: the eight jittered parameters `waves` [8], and faults if any."""

    waves: npt.NDArray[np.float64]
    faults: FrameFaults | None = None

    @property
    def is_dropped(self) -> bool:
        """Tell whether this frame shows the real face."""
        return self.faults is not None and self.faults.dropped


@dataclass(frozen=True)
class ForgeryRecipe:
    """All parameters of a forgery; lengths are in eye distances.

    The forged face is shifted by `shift`, scaled and rotated; `skin_shifts` [N, 4] displace its skin locally
    (x, y of the place in face coordinates, then dx, dy). `face_px` is the eye distance in px through which it
    is resampled, as by a generator of small faces (None keeps the resolution), `checkerboard` the amplitude
    of an upsampling pattern and `noise` the standard deviation of noise, both in gray levels; `sharpen` is
    above 0 for sharper and below for softer. `opacity` is how much of the forged face is blended in, and
    `jitter_amount` scales the temporal jitter. `regeneration`, `mouth_rendering` and `blotches` belong to the
    kinds of these names; with `temporal_faults` the forgery flickers and drops out.
    """

    kind: Kind
    mask: MaskShape
    color_jitter: ColorJitter
    temporal_jitter: TemporalJitter
    shift: tuple[float, float] = (0.0, 0.0)
    scale: float = 1.0
    rotation_degrees: float = 0.0
    face_px: float | None = None
    checkerboard: float = 0.0
    sharpen: float = 0.0
    noise: float = 0.0
    skin_shifts: npt.NDArray[np.float64] | None = None
    color_transfer: bool = True
    opacity: float = 1.0
    jitter_amount: float = 0.0
    seed: int = 0
    regeneration: Regeneration | None = None
    mouth_rendering: MouthRendering | None = None
    blotches: Blotches | None = None
    temporal_faults: TemporalFaults | None = None

    @property
    def needs_donor(self) -> bool:
        """Tell whether another person's face is put in."""
        return self.kind == "swap" or (self.regeneration is not None and self.regeneration.other_person)

    def change_at(self, frame_index: int) -> FrameChange:
        """Return what a frame changes; without temporal faults its jitter alone."""
        waves = self.temporal_jitter.at(frame_index) * self.jitter_amount
        if self.temporal_faults is None:
            return FrameChange(waves)
        faults = self.temporal_faults.at(frame_index)
        return FrameChange(waves + faults.waves, faults)


def sample_recipe(
    rng: np.random.Generator,
    strength: float = 1.0,
    kind: Kind | None = None,
    *,
    kinds: Sequence[Kind] = CLASSIC_KINDS,
    temporal: bool = False,
) -> ForgeryRecipe:
    """Draw a recipe; `strength` scales how much the forged face differs, 1 being the target of training.

    The kind is one of `kinds` unless given. With `temporal` the forgery flickers from frame to frame, drops
    out and is re-initialized.
    """
    drawn = _pick_kind(rng, kinds)
    kind = kind or drawn
    if kind in CLASSIC_KINDS:
        recipe = _sample_blended(rng, strength, kind)
    else:
        recipe = _sample_borderless(rng, strength, kind)
    return replace(recipe, temporal_faults=sample_temporal_faults(rng, strength)) if temporal else recipe


def _pick_kind(rng: np.random.Generator, kinds: Sequence[Kind]) -> Kind:
    probabilities = _CLASSIC_PROBABILITIES if set(kinds) <= set(CLASSIC_KINDS) else _PROBABILITIES
    names = [name for name in KINDS if name in kinds]
    if not names:
        raise ValueError(f"kinds: got {list(kinds)}, expected one or more of {', '.join(KINDS)}")
    return _pick(rng, names, [probabilities[name] for name in names])


def _sample_borderless(rng: np.random.Generator, strength: float, kind: Kind) -> ForgeryRecipe:
    """Draw a forgery that leaves no border: its mask fades wide, its colors hardly differ."""
    names, weights = zip(*_REGION_WEIGHTS[kind], strict=True)
    s = strength
    recipe = ForgeryRecipe(
        kind=kind,
        mask=MaskShape(
            region=_pick(rng, names, weights),
            bend=rng.normal(0, 0.05, (8, 2)),
            grow=float(rng.uniform(0.85, 1.05)),
            blur=float(rng.uniform(0.12, 0.25)),
        ),
        color_jitter=ColorJitter(),
        temporal_jitter=sample_temporal_jitter(rng),
        sharpen=float(s * rng.uniform(0, 1.2)) if rng.uniform() < 0.5 else 0.0,
        noise=float(rng.uniform(1, 4)) * s if rng.uniform() < 0.15 else 0.0,
        jitter_amount=_pick(rng, [0.0, 0.3, 0.6, 1.0]) * s,
        seed=int(rng.integers(2**31)),
    )
    if kind == "regenerate":
        return replace(recipe, regeneration=sample_regeneration(rng, s))
    if kind == "render-mouth":
        return replace(recipe, mouth_rendering=sample_mouth_rendering(rng, s))
    return replace(recipe, sharpen=0.0, noise=0.0, blotches=sample_blotches(rng, s))


def _sample_blended(rng: np.random.Generator, strength: float, kind: Kind) -> ForgeryRecipe:
    """Draw a changed or another person's face, blended in under a mask."""
    names, weights = zip(*_REGION_WEIGHTS[kind], strict=True)
    region = _pick(rng, names, weights)
    s = strength
    resolution = rng.uniform()
    soft = 0.75 if kind in ("swap", "reenact") else 0.5
    return ForgeryRecipe(
        kind=kind,
        mask=MaskShape(
            region=region,
            bend=rng.normal(0, 0.07, (8, 2)),
            grow=float(rng.uniform(0.82, 1.12)),
            blur=float(np.exp(rng.uniform(np.log(0.025), np.log(0.25)))),
            erode=_pick(rng, [0.0, 0.0, 0.25, 0.5]),
        ),
        color_jitter=sample_color_jitter(rng, s * _pick(rng, [0.35, 1.0])),
        temporal_jitter=sample_temporal_jitter(rng),
        shift=(float(s * rng.normal(0, 0.035)), float(s * rng.normal(0, 0.035))),
        scale=float(np.exp(s * rng.normal(0, 0.025))),
        rotation_degrees=float(s * rng.normal(0, 1.2)),
        face_px=float(np.exp(rng.uniform(np.log(16 / s), np.log(64 / s)))) if resolution < soft else None,
        checkerboard=float(rng.uniform(2, 10)) * s if rng.uniform() < 0.2 else 0.0,
        sharpen=float(s * rng.uniform(-0.7, 0.9)) if rng.uniform() < 0.5 else 0.0,
        noise=float(rng.uniform(1, 6)) * s if rng.uniform() < 0.15 else 0.0,
        skin_shifts=_sample_skin_shifts(rng, kind, s),
        color_transfer=bool(rng.uniform() < 0.85),
        opacity=_pick(rng, [0.5, 0.75, 1.0, 1.0, 1.0, 1.0]),
        jitter_amount=_pick(rng, [0.0, 0.3, 0.6, 1.0]) * s,
        seed=int(rng.integers(2**31)),
    )


def _pick(rng: np.random.Generator, values: Sequence[Value], weights: Sequence[float] = ()) -> Value:
    """Pick what `rng.choice` would from the same stream, which takes ten times as long."""
    if not weights:
        return values[int(rng.integers(len(values)))]
    total = np.cumsum(weights)
    return values[int(np.searchsorted(total / total[-1], rng.random(), side="right"))]


def _sample_skin_shifts(
    rng: np.random.Generator, kind: Kind, strength: float
) -> npt.NDArray[np.float64] | None:
    """Draw displacements of the mouth's skin, or of the whole face's for another expression."""
    if kind == "swap" or (kind == "self-blend" and rng.uniform() < 0.7):
        return None
    places = [(-0.35, 1.12), (0.35, 1.12), (0.0, 1.3), (0.0, 0.95)]
    if kind != "mouth":
        places += [(-0.5, 0.0), (0.5, 0.0), (-0.5, -0.35), (0.5, -0.35), (0.0, 0.6), (0.0, 1.7)]
    return np.column_stack([np.array(places), rng.normal(0, 0.06 * strength, (len(places), 2))])

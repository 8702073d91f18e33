"""Forgery recipes: the random choices of a forgery, drawn once for all frames of a clip.

Frames differ only by the recipe's temporal jitter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar, get_args

import numpy as np
import numpy.typing as npt

from deepfake_triton.training.forgery.colors import ColorJitter, sample_color_jitter
from deepfake_triton.training.forgery.masks import MaskShape, Region

Kind = Literal["self-blend", "reenact", "mouth", "swap"]
KINDS: tuple[Kind, ...] = get_args(Kind)

_JITTERED_PARAMETERS = 8
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
}
_KIND_PROBABILITIES: dict[Kind, float] = {"self-blend": 0.45, "reenact": 0.15, "mouth": 0.15, "swap": 0.25}


@dataclass(frozen=True)
class TemporalJitter:
    """Slow and fast sine waves of the eight jittered parameters, each in about -1…1.

    `phase` and `rate` (radians per frame) are [waves, 8], `weight` is [waves, 1].
    """

    phase: npt.NDArray[np.float64]
    rate: npt.NDArray[np.float64]
    weight: npt.NDArray[np.float64]

    def at(self, frame_index: int) -> npt.NDArray[np.float64]:
        """Return the eight values [8] at a frame."""
        value: npt.NDArray[np.float64] = (self.weight * np.sin(self.phase + self.rate * frame_index)).sum(
            axis=0
        )
        return value


@dataclass(frozen=True)
class ForgeryRecipe:
    """All parameters of a forgery; lengths are in eye distances.

    The forged face is shifted by `shift`, scaled and rotated; `skin_shifts` [N, 4] displace its skin locally
    (x, y of the place in face coordinates, then dx, dy). `face_px` is the eye distance in px through which it
    is resampled, as by a generator of small faces (None keeps the resolution), `checkerboard` the amplitude
    of an upsampling pattern and `noise` the standard deviation of noise, both in gray levels; `sharpen` is
    above 0 for sharper and below for softer. `opacity` is how much of the forged face is blended in, and
    `jitter_amount` scales the temporal jitter.
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


def sample_recipe(rng: np.random.Generator, strength: float = 1.0, kind: Kind | None = None) -> ForgeryRecipe:
    """Draw a recipe; `strength` scales how much the forged face differs, 1 being the target of training."""
    drawn = _pick(rng, KINDS, [_KIND_PROBABILITIES[name] for name in KINDS])
    kind = kind or drawn
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


def sample_temporal_jitter(rng: np.random.Generator) -> TemporalJitter:
    """Draw a slow and a fast wave for each jittered parameter."""
    return TemporalJitter(
        phase=rng.uniform(0, 2 * np.pi, (2, _JITTERED_PARAMETERS)),
        rate=np.stack(
            [rng.uniform(0.1, 0.6, _JITTERED_PARAMETERS), rng.uniform(1.0, 3.0, _JITTERED_PARAMETERS)]
        ),
        weight=np.array([[0.65], [0.35]]),
    )


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

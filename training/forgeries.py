"""Forged faces from real ones: a changed copy, or another person's face, blended in under a soft mask.

Self-blending is written from its description in Shiohara & Yamasaki, *Detecting Deepfakes with Self-Blended
Images*, CVPR 2022. A recipe holds all that was drawn by chance, so that a whole clip is forged alike; its
wobble is what changes from frame to frame.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, get_args

import cv2
import numpy as np
import numpy.typing as npt

from deepfake_triton.training.colours import (
    ColourChange,
    changed_colours,
    sampled_colour_change,
    transferred_colours,
)
from deepfake_triton.training.masks import MaskShape, Region, draw_mask, eye_distance, face_frame

Picture = npt.NDArray[np.uint8]
Points = npt.NDArray[np.float64]
Kind = Literal["self-blend", "reenact", "mouth", "swap"]
KINDS: tuple[Kind, ...] = get_args(Kind)

_WOBBLES = 8


@dataclass(frozen=True)
class Wobble:
    """Slow and quick waves of the eight parameters that move, each about -1…1: `phase` and `rate` (radians a
    frame) are [waves, 8], `share` [waves, 1]."""

    phase: Points
    rate: Points
    share: Points

    def at(self, frame: float) -> Points:
        """The eight values at a frame's number."""
        value: Points = (self.share * np.sin(self.phase + self.rate * frame)).sum(axis=0)
        return value


@dataclass(frozen=True)
class ForgeryRecipe:
    """All that decides how a face is forged; lengths are in distances between the eyes.

    `face_px` is the resolution between the eyes that the forged face passes through, as in a generator of
    small faces (None keeps it), `ripple` the strength of an upsampling pattern, `sharpen` is above 0 for
    sharper and below for softer, `noise` in grey levels; `bulges` [n, 4] move the skin: x, y of the place,
    then by how much. `ratio` is how much of the forged face is blended in.
    """

    kind: Kind
    mask: MaskShape
    colours: ColourChange
    wobble: Wobble
    shift: tuple[float, float] = (0.0, 0.0)
    scale: float = 1.0
    rotation_degrees: float = 0.0
    face_px: float | None = None
    ripple: float = 0.0
    sharpen: float = 0.0
    noise: float = 0.0
    bulges: Points | None = None
    colour_transfer: bool = True
    ratio: float = 1.0
    wobble_amount: float = 0.0
    seed: int = 0


_REGIONS_OF_KIND: dict[Kind, tuple[tuple[Region, float], ...]] = {
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
_SHARES: dict[Kind, float] = {"self-blend": 0.45, "reenact": 0.15, "mouth": 0.15, "swap": 0.25}


def sampled_recipe(
    rng: np.random.Generator, strength: float = 1.0, kind: Kind | None = None
) -> ForgeryRecipe:
    """Draw a recipe; `strength` scales how much the forged face differs, 1 being the shipped model's goal."""
    drawn = rng.choice(len(KINDS), p=[_SHARES[each] for each in KINDS])
    kind = kind or KINDS[int(drawn)]
    names, weights = zip(*_REGIONS_OF_KIND[kind], strict=True)
    region = names[int(rng.choice(len(names), p=np.array(weights) / sum(weights)))]
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
            erode=float(rng.choice([0.0, 0.0, 0.25, 0.5])),
        ),
        colours=sampled_colour_change(rng, s * float(rng.choice([0.35, 1.0]))),
        wobble=sampled_wobble(rng),
        shift=(float(s * rng.normal(0, 0.035)), float(s * rng.normal(0, 0.035))),
        scale=float(np.exp(s * rng.normal(0, 0.025))),
        rotation_degrees=float(s * rng.normal(0, 1.2)),
        face_px=float(np.exp(rng.uniform(np.log(16 / s), np.log(64 / s)))) if resolution < soft else None,
        ripple=float(rng.uniform(2, 10)) * s if rng.uniform() < 0.2 else 0.0,
        sharpen=float(s * rng.uniform(-0.7, 0.9)) if rng.uniform() < 0.5 else 0.0,
        noise=float(rng.uniform(1, 6)) * s if rng.uniform() < 0.15 else 0.0,
        bulges=_sampled_bulges(rng, kind, s),
        colour_transfer=bool(rng.uniform() < 0.85),
        ratio=float(rng.choice([0.5, 0.75, 1.0, 1.0, 1.0, 1.0])),
        wobble_amount=float(rng.choice([0.0, 0.3, 0.6, 1.0])) * s,
        seed=int(rng.integers(2**31)),
    )


def sampled_wobble(rng: np.random.Generator) -> Wobble:
    """A slow wave and a quick one for each parameter."""
    return Wobble(
        phase=rng.uniform(0, 2 * np.pi, (2, _WOBBLES)),
        rate=np.stack([rng.uniform(0.1, 0.6, _WOBBLES), rng.uniform(1.0, 3.0, _WOBBLES)]),
        share=np.array([[0.65], [0.35]]),
    )


def _sampled_bulges(rng: np.random.Generator, kind: Kind, strength: float) -> Points | None:
    """Skin moves at the mouth for a new lip motion, and all over the face for another expression."""
    if kind == "swap" or (kind == "self-blend" and rng.uniform() < 0.7):
        return None
    places = [(-0.35, 1.12), (0.35, 1.12), (0.0, 1.3), (0.0, 0.95)]
    if kind != "mouth":
        places += [(-0.5, 0.0), (0.5, 0.0), (-0.5, -0.35), (0.5, -0.35), (0.0, 0.6), (0.0, 1.7)]
    return np.column_stack([np.array(places), rng.normal(0, 0.06 * strength, (len(places), 2))])


def forge_frame(
    picture: Picture,
    landmarks: Points,
    recipe: ForgeryRecipe,
    frame: float = 0.0,
    donor: tuple[Picture, Points] | None = None,
) -> Picture:
    """The first of what `forge_with_mask` gives."""
    return forge_with_mask(picture, landmarks, recipe, frame, donor)[0]


def forge_with_mask(
    picture: Picture,
    landmarks: Points,
    recipe: ForgeryRecipe,
    frame: float = 0.0,
    donor: tuple[Picture, Points] | None = None,
) -> tuple[Picture, Picture]:
    """The forged twin of `picture` [H, W, 3] uint8 RGB with a face at `landmarks` [5, 2], in px, and how much
    of each of its pixels is forged, [H, W] uint8 in 0…255.

    `donor` is another person's picture and landmarks, needed by the kind `swap`; `frame` is the frame's
    number in its clip, by which the recipe wobbles. Pixels outside the mask stay as they are. Raises
    ValueError for a swap without a donor.
    """
    unit = eye_distance(landmarks)
    waves = recipe.wobble.at(frame) * recipe.wobble_amount
    mask = draw_mask(_wobbled(recipe.mask, waves), landmarks, _size(picture))
    rows, columns = np.flatnonzero(mask.max(axis=1) > 0.004), np.flatnonzero(mask.max(axis=0) > 0.004)
    if not len(rows) or not len(columns):
        return picture.copy(), np.zeros(_size(picture), np.uint8)
    room = round(0.3 * unit) + 2  # filters look beyond the mask
    top, bottom = max(rows[0] - room, 0), min(rows[-1] + room + 1, picture.shape[0])
    left, right = max(columns[0] - room, 0), min(columns[-1] + room + 1, picture.shape[1])
    corner = np.array([left, top])
    base, mask = picture[top:bottom, left:right], mask[top:bottom, left:right]
    if recipe.kind == "swap":
        if donor is None:
            raise ValueError("a swap needs a donor: another person's picture and landmarks")
        source = _aligned(donor, landmarks - corner, _size(base))
    else:
        source = base
    source = _moved(source, landmarks - corner, recipe, waves, unit)
    if recipe.kind == "swap" and recipe.colour_transfer:
        source = transferred_colours(source, base, mask)
    source = changed_colours(source, _wobbled_colours(recipe.colours, waves))
    source = _textured(source, recipe, unit, frame)
    weight = (mask * float(np.clip(recipe.ratio * (1 - 0.15 * abs(waves[7])), 0, 1)))[:, :, None]
    forged, share = picture.copy(), np.zeros(_size(picture), np.uint8)
    blended = base + weight * (source.astype(np.float32) - base)
    forged[top:bottom, left:right] = (blended + 0.5).astype(np.uint8)
    share[top:bottom, left:right] = (255 * weight[:, :, 0] + 0.5).astype(np.uint8)
    return forged, share


def _size(picture: Picture) -> tuple[int, int]:
    return picture.shape[0], picture.shape[1]


def _wobbled(mask: MaskShape, waves: Points) -> MaskShape:
    return replace(mask, bend=mask.bend + 0.03 * waves[:2], grow=mask.grow * (1 + 0.03 * float(waves[2])))


def _wobbled_colours(colours: ColourChange, waves: Points) -> ColourChange:
    red, green, blue = (gain * (1 + 0.03 * float(waves[3])) for gain in colours.gain)
    return replace(colours, gain=(red, green, blue))


def _aligned(donor: tuple[Picture, Points], landmarks: Points, size: tuple[int, int]) -> Picture:
    """The donor's face laid over the target's: a similarity map between their landmarks."""
    picture, own = donor
    turn = _similarity(own, landmarks)
    return np.asarray(
        cv2.warpAffine(picture, turn, size[::-1], flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101),
        np.uint8,
    )


def _similarity(source: Points, target: Points) -> Points:
    """The map [2, 3] by rotation, scale and shift that carries `source` [N, 2] nearest to `target` [N, 2]."""
    source_centre, target_centre = source.mean(axis=0), target.mean(axis=0)
    a = (source - source_centre) @ np.array([1, 1j])
    b = (target - target_centre) @ np.array([1, 1j])
    ratio = np.vdot(a, b) / max(np.vdot(a, a).real, 1e-9)
    turn = np.array([[ratio.real, -ratio.imag], [ratio.imag, ratio.real]])
    return np.column_stack([turn, target_centre - turn @ source_centre])


def _moved(source: Picture, landmarks: Points, recipe: ForgeryRecipe, waves: Points, unit: float) -> Picture:
    """The source shifted, scaled and turned around the face, and its skin pushed about."""
    centre = landmarks.mean(axis=0)
    angle = np.deg2rad(recipe.rotation_degrees + 0.7 * waves[4])
    scale = recipe.scale * (1 + 0.008 * waves[4])
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    shift = unit * (np.array(recipe.shift) + 0.025 * waves[5:7])
    back = np.linalg.inv(turn)
    flags = cv2.INTER_LINEAR
    height, width = source.shape[:2]
    if recipe.bulges is None:
        forward = np.column_stack([turn, centre + shift - turn @ centre])
        out = cv2.warpAffine(source, forward, (width, height), flags=flags, borderMode=cv2.BORDER_REFLECT_101)
        return np.asarray(out, np.uint8)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    offset = centre - back @ (centre + shift)
    map_x = back[0, 0] * x + back[0, 1] * y + offset[0]
    map_y = back[1, 0] * x + back[1, 1] * y + offset[1]
    frame = face_frame(landmarks)
    spread = 2 * (0.3 * unit) ** 2
    sway = 1 + 0.8 * waves[6]
    for place_x, place_y, push_x, push_y in recipe.bulges:
        at = frame[:, :2] @ [place_x, place_y] + frame[:, 2]
        fade = np.exp(-((x - at[0]) ** 2 + (y - at[1]) ** 2) / spread)
        map_x -= (push_x * sway * unit) * fade
        map_y -= (push_y * sway * unit) * fade
    out = cv2.remap(
        source,
        map_x.astype(np.float32),
        map_y.astype(np.float32),
        flags,
        borderMode=cv2.BORDER_REFLECT_101,
    )
    return np.asarray(out, np.uint8)


def _textured(source: Picture, recipe: ForgeryRecipe, unit: float, frame: float) -> Picture:
    """What generators leave: a lower resolution, an upsampling pattern, other sharpness and noise."""
    height, width = source.shape[:2]
    if recipe.face_px is not None and recipe.face_px < 0.95 * unit:
        share = recipe.face_px / unit
        small = (max(4, round(width * share)), max(4, round(height * share)))
        low = cv2.resize(source, small, interpolation=cv2.INTER_AREA)
        source = np.asarray(cv2.resize(low, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)
    changed: npt.NDArray[np.float32] | None = None
    if recipe.ripple:
        y, x = np.mgrid[:height, :width]
        changed = source + np.float32(recipe.ripple / 2) * (((x + y) % 2) * 2 - 1)[:, :, None]
    if recipe.sharpen:
        soft = cv2.GaussianBlur(source, (0, 0), 0.025 * unit + 0.4).astype(np.float32)
        changed = (source if changed is None else changed) + recipe.sharpen * (source - soft)
    if recipe.noise:
        rng = np.random.default_rng([recipe.seed, int(frame)])
        noise = recipe.noise * rng.standard_normal(source.shape, np.float32)
        changed = (source if changed is None else changed) + noise
    if changed is None:
        return source
    return np.clip(np.rint(changed), 0, 255).astype(np.uint8)

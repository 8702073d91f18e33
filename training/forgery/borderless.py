"""Forgeries without a border: redrawn faces, re-rendered mouths and blotches of the skin."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import numpy.typing as npt

from deepfake_triton.arrays import Image, Points
from deepfake_triton.training.forgery.aligned_square import (
    SQUARE_SIDE,
    cut_square,
    place_square,
    place_values,
    square_transform,
)
from deepfake_triton.training.forgery.blotches import (
    SQUARE_PX,
    Blotches,
    blotch_weights,
    change_skin,
    color_shifts,
)
from deepfake_triton.training.forgery.colors import ColorJitter, apply_color_jitter
from deepfake_triton.training.forgery.layers import Donor, ForgedFrame, ForgedLayer, add_artifacts
from deepfake_triton.training.forgery.masks import eye_distance
from deepfake_triton.training.forgery.mouth_rendering import MouthRendering, open_by, render_mouth_square
from deepfake_triton.training.forgery.regeneration import Regeneration, put_other_person, regenerate_square
from deepfake_triton.training.forgery.regenerators.specs import SPECS, RegeneratorName

_Values = npt.NDArray[np.float64]


def forge_without_border(
    image: Image, landmarks: Points, frame: ForgedFrame, *, donor: Donor | None = None
) -> ForgedLayer | None:
    """Forge a kind without a border at `landmarks` [5, 2] px; None when the face is outside of the image."""
    recipe = frame.recipe
    if recipe.regeneration is not None:
        return _regenerate(image, landmarks, frame, regeneration=recipe.regeneration, donor=donor)
    if recipe.mouth_rendering is not None:
        return _render_mouth(image, landmarks, frame, rendering=recipe.mouth_rendering)
    assert recipe.blotches is not None
    return _blotch(image, landmarks, frame, blotches=recipe.blotches)


def _regenerate(
    image: Image, landmarks: Points, frame: ForgedFrame, *, regeneration: Regeneration, donor: Donor | None
) -> ForgedLayer | None:
    side_px, transform, window = _aligned(image, landmarks, network=regeneration.network)
    if window is None:
        return None
    face = cut_square(image, transform, side_px)
    if regeneration.other_person and donor is not None:
        donor_face = cut_square(donor.image, square_transform(donor.landmarks, side_px), side_px)
        swapped = put_other_person(face, donor_face, frame.recipe.mask)
    else:
        swapped = face
    waves = frame.change.waves
    warp = regeneration.warp * (1 + 0.3 * waves[4]) + 0.02 * waves[5:7]
    square, weights = regenerate_square(
        face, swapped, replace(regeneration, warp=warp), noise_rng=_noise_rng(frame)
    )
    return _layer(square, weights, frame, transform=transform, window=window, landmarks=landmarks)


def _render_mouth(
    image: Image, landmarks: Points, frame: ForgedFrame, *, rendering: MouthRendering
) -> ForgedLayer | None:
    side_px, transform, window = _aligned(image, landmarks, network=rendering.network)
    if window is None:
        return None
    face = cut_square(image, transform, side_px)
    speaking = open_by(rendering, 0.1 * float(frame.change.waves[6]))
    square, weights = render_mouth_square(face, speaking, frame.recipe.mask, noise_rng=_noise_rng(frame))
    return _layer(square, weights, frame, transform=transform, window=window, landmarks=landmarks)


def _blotch(image: Image, landmarks: Points, frame: ForgedFrame, *, blotches: Blotches) -> ForgedLayer | None:
    transform = square_transform(landmarks, SQUARE_PX)
    window = _window(transform, SQUARE_PX, image)
    if window is None:
        return None
    base = image[window]
    size = base.shape[0], base.shape[1]
    to_square = _in_window(transform, window)
    to_square[:, 2] += 0.04 * SQUARE_PX / SQUARE_SIDE * frame.change.waves[5:7]
    shifts = place_values(color_shifts(blotches), to_square, size)
    shifts = shifts + np.float32(255) * (frame.fault_gain - 1).astype(np.float32)
    source = change_skin(base, shifts, blotches, unit_px=eye_distance(landmarks))
    weights = place_values(blotch_weights(blotches, frame.recipe.mask), to_square, size)
    return ForgedLayer(window, source, weights * np.float32(frame.opacity))


def _aligned(
    image: Image, landmarks: Points, *, network: RegeneratorName
) -> tuple[int, _Values, tuple[slice, slice] | None]:
    """Return the side of a network's square, the transform to it, and the part of the image it covers."""
    side_px = SPECS[network].output_px
    transform = square_transform(landmarks, side_px)
    return side_px, transform, _window(transform, side_px, image)


def _window(transform: _Values, side_px: int, image: Image) -> tuple[slice, slice] | None:
    inverse = cv2.invertAffineTransform(transform)
    corners = np.array([[0, 0], [0, side_px], [side_px, 0], [side_px, side_px]]) - 0.5
    at = corners @ inverse[:, :2].T + inverse[:, 2]
    low = np.maximum(np.floor(at.min(axis=0)), 0).astype(int)
    high = np.minimum(np.ceil(at.max(axis=0)) + 1, image.shape[1::-1]).astype(int)
    if (high <= low).any():
        return None
    return slice(int(low[1]), int(high[1])), slice(int(low[0]), int(high[0]))


def _in_window(transform: _Values, window: tuple[slice, slice]) -> _Values:
    """Return the transform [2, 3] to a square from an image's window instead of the image."""
    corner = np.array([window[1].start, window[0].start], float)
    return np.column_stack([transform[:, :2], transform[:, 2] + transform[:, :2] @ corner])


def _layer(
    square: Image,
    weights: npt.NDArray[np.float32],
    frame: ForgedFrame,
    *,
    transform: _Values,
    window: tuple[slice, slice],
    landmarks: Points,
) -> ForgedLayer:
    size = window[0].stop - window[0].start, window[1].stop - window[1].start
    to_square = _in_window(transform, window)
    source = place_square(square, to_square, size)
    if frame.change.faults is not None:
        source = apply_color_jitter(source, ColorJitter(gain=frame.change.faults.gain))
    source = add_artifacts(source, frame.recipe, unit_px=eye_distance(landmarks), frame_index=frame.index)
    return ForgedLayer(window, source, place_values(weights, to_square, size) * np.float32(frame.opacity))


def _noise_rng(frame: ForgedFrame) -> np.random.Generator:
    return np.random.default_rng([frame.recipe.seed, frame.index, 1])

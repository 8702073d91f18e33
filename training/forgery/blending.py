"""Forge a frame: blend a changed copy of its face, or another person's face, into it under a soft mask.

Kinds without a border are forged by `borderless`.

Self-blending follows the description in Shiohara & Yamasaki, *Detecting Deepfakes with Self-Blended Images*,
CVPR 2022.
"""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import numpy.typing as npt

from deepfake_triton.arrays import Image, Points
from deepfake_triton.training.forgery.aligned_square import fit_similarity
from deepfake_triton.training.forgery.borderless import forge_without_border
from deepfake_triton.training.forgery.colors import ColorJitter, apply_color_jitter, transfer_colors
from deepfake_triton.training.forgery.kinds import CLASSIC_KINDS
from deepfake_triton.training.forgery.layers import Donor, ForgedFrame, ForgedLayer, add_artifacts
from deepfake_triton.training.forgery.masks import (
    MaskShape,
    draw_mask,
    eye_distance,
    face_to_image_transform,
)
from deepfake_triton.training.forgery.recipe import ForgeryRecipe, FrameChange

__all__ = ["Donor", "forge_frame", "forge_with_mask"]

_Values = npt.NDArray[np.float64]

_VISIBLE = 0.004  # of a mask's 0…1: less than one gray level


def forge_frame(
    image: Image,
    landmarks: Points,
    recipe: ForgeryRecipe,
    *,
    frame_index: int = 0,
    donor: Donor | None = None,
) -> Image:
    """Return the forged image of `forge_with_mask`, without the mask coverage."""
    return forge_with_mask(image, landmarks, recipe, frame_index=frame_index, donor=donor)[0]


def forge_with_mask(
    image: Image,
    landmarks: Points,
    recipe: ForgeryRecipe,
    *,
    frame_index: int = 0,
    donor: Donor | None = None,
) -> tuple[Image, npt.NDArray[np.uint8]]:
    """Forge the face at `landmarks` [5, 2] px of `image` [H, W, 3] uint8 RGB.

    Returns the fake counterpart and its mask coverage: how much of each pixel is forged, [H, W] uint8 in
    0…255. Recipes that need one get a `donor`; `frame_index` selects the temporal jitter and faults. Pixels
    outside the mask are unchanged. Raises ValueError for another person's face without a donor.
    """
    change = recipe.change_at(frame_index)
    coverage = np.zeros(_size(image), np.uint8)
    if change.is_dropped:
        return image.copy(), coverage
    if recipe.needs_donor and donor is None:
        raise ValueError(f"{recipe.kind}: got no donor, expected another person's image and landmarks")
    frame = ForgedFrame(recipe, change, frame_index)
    if recipe.kind in CLASSIC_KINDS:
        layer = _blend_face(image, landmarks, frame, donor=donor)
    else:
        layer = forge_without_border(image, landmarks, frame, donor=donor)
    if layer is None:
        return image.copy(), coverage
    window, weight = layer.window, layer.weight[:, :, None]
    base = image[window]
    blended = base + weight * (layer.source.astype(np.float32) - base)
    forged = image.copy()
    forged[window] = (blended + 0.5).astype(np.uint8)
    coverage[window] = (255 * weight[:, :, 0] + 0.5).astype(np.uint8)
    return forged, coverage


def _blend_face(
    image: Image, landmarks: Points, frame: ForgedFrame, *, donor: Donor | None
) -> ForgedLayer | None:
    """Forge a classic kind: a changed copy of the face, or another person's, under a mask."""
    recipe, waves, unit_px = frame.recipe, frame.change.waves, eye_distance(landmarks)
    mask = draw_mask(_jitter_mask(recipe.mask, waves), landmarks, _size(image))
    window = _mask_window(mask, margin_px=round(0.3 * unit_px) + 2)  # filters look beyond the mask
    if window is None:
        return None
    base, mask = image[window], mask[window]
    local = landmarks - np.array([window[1].start, window[0].start])
    source = _align_donor(donor, local, _size(base)) if recipe.kind == "swap" and donor else base
    source = _warp_face(source, local, recipe, waves=waves, unit_px=unit_px)
    if recipe.kind == "swap" and recipe.color_transfer:
        source = transfer_colors(source, base, mask)
    source = apply_color_jitter(source, _jitter_colors(recipe.color_jitter, frame.change))
    source = add_artifacts(source, recipe, unit_px=unit_px, frame_index=frame.index)
    return ForgedLayer(window, source, mask * frame.opacity)


def _size(image: Image) -> tuple[int, int]:
    return image.shape[0], image.shape[1]


def _mask_window(mask: npt.NDArray[np.float32], margin_px: int) -> tuple[slice, slice] | None:
    """Return the rows and columns around the visible part of a mask; None when none of it is in the image."""
    rows, columns = (np.flatnonzero(mask.max(axis=axis) > _VISIBLE) for axis in (1, 0))
    if not len(rows) or not len(columns):
        return None
    top, bottom = max(rows[0] - margin_px, 0), min(rows[-1] + margin_px + 1, mask.shape[0])
    left, right = max(columns[0] - margin_px, 0), min(columns[-1] + margin_px + 1, mask.shape[1])
    return slice(top, bottom), slice(left, right)


def _jitter_mask(mask: MaskShape, waves: _Values) -> MaskShape:
    return replace(mask, bend=mask.bend + 0.03 * waves[:2], grow=mask.grow * (1 + 0.03 * float(waves[2])))


def _jitter_colors(jitter: ColorJitter, change: FrameChange) -> ColorJitter:
    red, green, blue = (gain * (1 + 0.03 * float(change.waves[3])) for gain in jitter.gain)
    if change.faults is not None:
        red, green, blue = (
            gain * fault for gain, fault in zip((red, green, blue), change.faults.gain, strict=True)
        )
    return replace(jitter, gain=(red, green, blue))


def _align_donor(donor: Donor, landmarks: Points, size: tuple[int, int]) -> Image:
    """Warp the donor's face onto the target's landmarks, into an image of `size` (H, W)."""
    transform = fit_similarity(donor.landmarks, landmarks)
    return np.asarray(
        cv2.warpAffine(
            donor.image, transform, size[::-1], flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
        ),
        np.uint8,
    )


def _warp_face(
    source: Image, landmarks: Points, recipe: ForgeryRecipe, *, waves: _Values, unit_px: float
) -> Image:
    """Shift, scale and rotate the source around the face, and displace its skin locally."""
    center = landmarks.mean(axis=0)
    angle = np.deg2rad(recipe.rotation_degrees + 0.7 * waves[4])
    scale = recipe.scale * (1 + 0.008 * waves[4])
    linear = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    shift = unit_px * (np.array(recipe.shift) + 0.025 * waves[5:7])
    height, width = source.shape[:2]
    if recipe.skin_shifts is None:
        forward = np.column_stack([linear, center + shift - linear @ center])
        warped = cv2.warpAffine(
            source, forward, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
        )
        return np.asarray(warped, np.uint8)
    inverse = np.linalg.inv(linear)
    offset = center - inverse @ (center + shift)
    x, y = np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)[:, None]
    inverse_x, inverse_y = inverse.astype(np.float32)
    transform = face_to_image_transform(landmarks)
    places = recipe.skin_shifts[:, :2] @ transform[:, :2].T + transform[:, 2]
    shifts = ((1 + 0.8 * waves[6]) * unit_px * recipe.skin_shifts[:, 2:]).astype(np.float32)
    spread = np.float32(2 * (0.3 * unit_px) ** 2)
    # A Gaussian in two dimensions is the product of one in x and one in y.
    fade_x, fade_y = (
        np.exp(-((along.reshape(-1, 1) - at.astype(np.float32)) ** 2) / spread)
        for along, at in zip((x, y), places.T, strict=True)
    )
    source_x = inverse_x[0] * x + (inverse_x[1] * y + np.float32(offset[0]))
    source_y = inverse_y[0] * x + (inverse_y[1] * y + np.float32(offset[1]))
    source_x -= (fade_y * shifts[:, 0]) @ fade_x.T
    source_y -= (fade_y * shifts[:, 1]) @ fade_x.T
    warped = cv2.remap(
        source,
        source_x,
        source_y,
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REFLECT_101,
    )
    return np.asarray(warped, np.uint8)

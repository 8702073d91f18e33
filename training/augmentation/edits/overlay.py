"""Overlays: text, captions, watermarks, logos, stickers and small occluders drawn over a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import cv2
import numpy as np
import numpy.typing as npt

from deepfake_triton.arrays import Image, Points
from deepfake_triton.training.augmentation.edits.shapes import (
    STICKERS,
    Outline,
    rounded_rectangle,
    sticker_parts,
)
from deepfake_triton.training.forgery.masks import face_to_image_transform

OverlayKind = Literal["text", "caption", "watermark", "logo", "sticker", "microphone", "bar"]
OVERLAY_KINDS: tuple[OverlayKind, ...] = get_args(OverlayKind)
_KIND_WEIGHTS = (3.0, 2.5, 2.0, 1.5, 3.0, 1.0, 1.0)
_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_FONTS = (
    cv2.FONT_HERSHEY_SIMPLEX,
    cv2.FONT_HERSHEY_DUPLEX,
    cv2.FONT_HERSHEY_COMPLEX,
    cv2.FONT_HERSHEY_TRIPLEX,
    cv2.FONT_HERSHEY_SCRIPT_COMPLEX,
    cv2.FONT_HERSHEY_PLAIN,
)
_TEXT_PX = 24  # letters are drawn at about this height, then warped into place
_SUBPIXEL_BITS = 4

_Mask = npt.NDArray[np.uint8]
_Values = npt.NDArray[np.float32]
_Color = tuple[int, int, int]


@dataclass(frozen=True)
class Overlay:
    """One drawn thing, of an opacity of `alpha`.

    `center` (x, y) and `size` are fractions of the picture's width and height for text, captions, watermarks
    and logos; they are in face coordinates for stickers, microphones and bars, which follow the face.
    `second_color` is that of outlines and of the box behind a caption.
    """

    kind: OverlayKind
    center: tuple[float, float]
    size: float
    color: _Color
    second_color: _Color
    alpha: float = 1.0
    rotation_degrees: float = 0.0
    text: str = ""
    font: int = cv2.FONT_HERSHEY_SIMPLEX
    boldness: float = 0.12
    sticker: str = ""


def sample_overlay(rng: np.random.Generator) -> Overlay:
    """Draw something over the picture; nothing opaque hides a whole face."""
    share = np.cumsum(_KIND_WEIGHTS) / sum(_KIND_WEIGHTS)
    kind = OVERLAY_KINDS[int(np.searchsorted(share, rng.random(), side="right"))]
    center, size = _sample_place(rng, kind)
    color, second = _sample_colors(rng)
    if kind == "microphone":
        gray = int(rng.integers(15, 70))
        color, second = (gray, gray, gray), (gray + 25, gray + 25, gray + 25)
    alpha, rotation = 1.0 if rng.uniform() < 0.6 else rng.uniform(0.6, 1.0), 0.0
    if kind == "watermark":
        alpha, rotation = rng.uniform(0.15, 0.5), rng.choice([0.0, -30.0, 30.0, -45.0])
    elif kind in ("text", "sticker", "microphone", "bar"):
        rotation = float(rng.normal(0, 8))
    return Overlay(
        kind=kind,
        center=center,
        size=size,
        color=color,
        second_color=second,
        alpha=float(alpha),
        rotation_degrees=float(rotation),
        text=_sample_text(rng, 2 if kind == "logo" else int(rng.integers(4, 22))),
        font=_FONTS[int(rng.integers(len(_FONTS)))],
        boldness=float(rng.uniform(0.06, 0.2)),
        sticker=STICKERS[int(rng.integers(len(STICKERS)))],
    )


def _sample_place(rng: np.random.Generator, kind: OverlayKind) -> tuple[tuple[float, float], float]:
    """Draw center and size in the units of the kind."""
    x, y, size = rng.uniform(size=3)
    if kind == "caption":
        return (0.5, float(0.68 + 0.26 * y if x < 0.75 else 0.06 + 0.1 * y)), float(0.05 + 0.05 * size)
    if kind in ("text", "watermark"):
        return (float(0.25 + 0.5 * x), float(0.1 + 0.8 * y)), float(0.05 + 0.1 * size)
    if kind == "logo":
        return (float(0.12 + 0.76 * (x > 0.5)), float(0.1 + 0.8 * (y > 0.5))), float(0.06 + 0.08 * size)
    if kind == "microphone":
        return (float(0.9 * (x - 0.5)), float(1.55 + 0.4 * y)), float(0.25 + 0.2 * size)
    if kind == "bar":
        return (0.0, (0.0, -0.62, 1.7)[int(3 * y)]), float(0.12 + 0.14 * size)
    return (float(2.2 * (x - 0.5)), float(-1.0 + 2.6 * y)), float(0.2 + 0.35 * size)


def _sample_colors(rng: np.random.Generator) -> tuple[_Color, _Color]:
    """Draw a color and another of a clearly different brightness."""
    if rng.uniform() < 0.5:
        light, dark = (255, 255, 255), (0, 0, 0)
    else:
        drawn = rng.integers(0, 90, 3), rng.integers(150, 256, 3)
        dark, light = ((int(c[0]), int(c[1]), int(c[2])) for c in drawn)
    return (light, dark) if rng.uniform() < 0.65 else (dark, light)


def _sample_text(rng: np.random.Generator, length: int) -> str:
    """Draw words of random letters; as often in capitals as not."""
    letters = [_LETTERS[int(index)] for index in rng.integers(len(_LETTERS), size=length)]
    for index in range(3 + int(rng.integers(4)), length - 2, 6):
        letters[index] = " "
    text = "".join(letters)
    return text.upper() if rng.uniform() < 0.5 else text.capitalize()


def draw_overlays(images: Sequence[Image], overlays: Sequence[Overlay], landmarks: Points) -> list[Image]:
    """Draw the same over all images [H, W, 3] uint8 RGB of one size."""
    out = [image.copy() for image in images]
    height, width = images[0].shape[:2]
    for overlay in overlays:
        layers = _layers(overlay, landmarks, (height, width))
        left, top, wide, high = cv2.boundingRect(np.maximum.reduce([mask for mask, _ in layers]))
        if not wide:
            continue
        window = slice(top, top + high), slice(left, left + wide)
        color, coverage = _flatten([(mask[window], color) for mask, color in layers])
        color *= np.float32(overlay.alpha)
        kept = 1 - np.float32(overlay.alpha) * coverage
        for image in out:
            image[window] = (image[window] * kept + color + np.float32(0.5)).astype(np.uint8)
    return out


def _flatten(layers: Sequence[tuple[_Mask, _Color]]) -> tuple[_Values, _Values]:
    """Return the color [H, W, 3], times its coverage, and the coverage [H, W, 1] of stacked layers."""
    height, width = layers[0][0].shape
    color, coverage = np.zeros((height, width, 3), np.float32), np.zeros((height, width, 1), np.float32)
    for mask, own in layers:
        weight = mask.astype(np.float32)[:, :, None] / np.float32(255)
        color += weight * (np.array(own, np.float32) - color)
        coverage += weight * (1 - coverage)
    return color, coverage


def _layers(overlay: Overlay, landmarks: Points, size: tuple[int, int]) -> list[tuple[_Mask, _Color]]:
    """Return masks [H, W] in 0…255 with their colors, from the lowest to the highest."""
    if overlay.kind in ("text", "caption", "watermark", "logo"):
        return _text_layers(overlay, size)
    parts = sticker_parts(overlay.sticker if overlay.kind == "sticker" else overlay.kind)
    transform = face_to_image_transform(landmarks)
    angle = np.deg2rad(overlay.rotation_degrees)
    turn = overlay.size * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    linear = transform[:, :2] @ turn
    offset = transform[:, :2] @ np.array(overlay.center) + transform[:, 2]
    layers = []
    for part in parts:
        color = overlay.second_color if part.is_second_color else overlay.color
        layers.append((_fill(part.outline @ linear.T + offset, size), color))
    return layers


def _text_layers(overlay: Overlay, size: tuple[int, int]) -> list[tuple[_Mask, _Color]]:
    height, width = size
    text_px = max(6.0, overlay.size * height)
    center = np.array([overlay.center[0] * width, overlay.center[1] * height])
    letters, rim = _write(overlay)
    # Long texts shrink to the picture's width.
    scale = min(text_px / _TEXT_PX, 0.96 * width / letters.shape[1])
    angle = overlay.rotation_degrees
    middle = letters.shape[1] / 2, letters.shape[0] / 2
    matrix = np.asarray(cv2.getRotationMatrix2D(middle, -angle, scale), np.float64)
    matrix[:, 2] += center - np.array(middle)
    layers: list[tuple[_Mask, _Color]] = []
    if overlay.kind in ("caption", "logo"):
        half = 0.5 * scale * np.array([letters.shape[1], letters.shape[0]]) + 0.35 * text_px
        box = rounded_rectangle(float(half[0]), float(half[1]), 0.4 * text_px) + center
        layers.append((_fill(box, size), overlay.second_color))
    elif overlay.kind == "text":
        layers.append((_warp(rim, matrix, size), overlay.second_color))
    return [*layers, (_warp(letters, matrix, size), overlay.color)]


def _write(overlay: Overlay) -> tuple[_Mask, _Mask]:
    """Draw the letters, and the letters with a rim, as masks [H, W]."""
    bold = max(1, round(overlay.boldness * _TEXT_PX))
    unit = cv2.getTextSize("H", overlay.font, 1.0, 1)[0][1]
    font_scale = _TEXT_PX / max(unit, 1)
    (width, height), below = cv2.getTextSize(overlay.text, overlay.font, font_scale, bold)
    margin = bold + 4
    masks = []
    for thickness in (bold, bold + 5):
        mask = np.zeros((height + below + 2 * margin, width + 2 * margin), np.uint8)
        start = (margin, height + margin)
        cv2.putText(mask, overlay.text, start, overlay.font, font_scale, (255,), thickness, cv2.LINE_AA)
        masks.append(mask)
    return masks[0], masks[1]


def _warp(mask: _Mask, matrix: npt.NDArray[np.float64], size: tuple[int, int]) -> _Mask:
    scale = float(np.hypot(*matrix[0, :2]))
    if scale < 0.7:  # single pixels would alias
        mask = np.asarray(cv2.GaussianBlur(mask, (0, 0), 0.35 / scale), np.uint8)
    return np.asarray(cv2.warpAffine(mask, matrix, size[::-1], flags=cv2.INTER_LINEAR), np.uint8)


def _fill(outline: Outline, size: tuple[int, int]) -> _Mask:
    mask = np.zeros(size, np.uint8)
    fixed = np.rint(np.clip(outline, -1e4, 1e4) * 2**_SUBPIXEL_BITS).astype(np.int32)
    cv2.fillPoly(mask, [fixed], (255,), cv2.LINE_AA, _SUBPIXEL_BITS)
    return mask

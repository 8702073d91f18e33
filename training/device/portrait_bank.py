"""All portraits of a split on the device, each in three resolutions, so that small faces do not alias."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from deepfake_triton.arrays import Image
from deepfake_triton.training.device.sampling import sample
from deepfake_triton.training.device.uploads import upload
from deepfake_triton.training.faces.portraits import LARGEST_FACE_PX, Portrait
from deepfake_triton.training.forgery.aligned_square import ALIASING_SCALE

CANVAS_PX = 2 * LARGEST_FACE_PX
ATLAS_PX = (CANVAS_PX, CANVAS_PX * 3 // 2)
"""Rows and columns of a portrait with its half, and below that its quarter, to the right of it."""
_LEVELS = 3
_CHUNK = 64
_NO_PIXELS = np.zeros((0, 0, 3), np.uint8)
_Placed = tuple[Portrait, tuple[int, int, int, int]]


@dataclass(frozen=True)
class PortraitBank:
    """Portraits of a split: `atlas` [P, 3, 448, 672] uint8 RGB holds each one's canvas in three resolutions.

    `boxes` [P, 4] and `landmarks` [P, 5, 2] are px of the canvas, `origins` [P, 2] and `sizes` [P, 2] (x, y)
    say where in it the portrait's own picture is; the pixels at its edges repeat beyond it. `faces` are the
    portraits without their pixels.
    """

    atlas: Tensor
    boxes: Tensor
    landmarks: Tensor
    origins: Tensor
    sizes: Tensor
    faces: tuple[Portrait, ...]

    @property
    def device(self) -> torch.device:
        """The device of all tensors."""
        return self.atlas.device

    def sample(self, index: Tensor, at: Tensor, scale: Tensor) -> Tensor:
        """Return pixels [N, 3, H, W] float32 of the portraits `index` [N] at `at` [N, H, W, 2] canvas px.

        `scale` [N] is that of what is drawn, by which the resolution is chosen.
        """
        level = sum((scale < ALIASING_SCALE / 2**step).long() for step in range(_LEVELS - 1))
        assert isinstance(level, Tensor)
        factor = (0.5**level).reshape(-1, 1, 1, 1)
        inside = torch.minimum(((at + 0.5) * factor - 0.5).clamp(min=0), CANVAS_PX * factor - 1)
        right = (level > 0) * CANVAS_PX
        below = (level > 1) * (CANVAS_PX // 2)
        corner = torch.stack([right, below], -1).reshape(-1, 1, 1, 2)
        return sample(self.atlas[index].float(), inside + corner)


def build_bank(portraits: Sequence[Portrait], device: torch.device, *, threads: int = 1) -> PortraitBank:
    """Put portraits on the device; `threads` decode them. Larger faces than 224 px are scaled down."""
    chunks, faces, places = [], [], []
    # Copies of stored portraits have caches of their own.
    copies = [copy.copy(portraits) for _ in range(max(1, threads))]
    with ThreadPoolExecutor(len(copies)) as pool:
        for start in range(0, len(portraits), _CHUNK):
            members = range(start, min(start + _CHUNK, len(portraits)))
            jobs = [(own, members[number :: len(copies)]) for number, own in enumerate(copies)]
            parts = list(pool.map(_place_all, jobs))
            placed = [parts[i % len(copies)][i // len(copies)] for i in range(len(members))]
            chunks.append(_atlas(upload(np.stack([one.pixels for one, _ in placed]), device)))
            faces += [replace(one, pixels=_NO_PIXELS, mesh=None) for one, _ in placed]
            places += [place for _, place in placed]
    placed_at = np.array(places, np.float32)
    return PortraitBank(
        atlas=torch.cat(chunks),
        boxes=upload(np.array([face.box for face in faces], np.float32), device),
        landmarks=upload(np.array([face.landmarks for face in faces], np.float32), device),
        origins=upload(placed_at[:, :2], device),
        sizes=upload(placed_at[:, 2:], device),
        faces=tuple(faces),
    )


def _place_all(job: tuple[Sequence[Portrait], range]) -> list[_Placed]:
    portraits, numbers = job
    return [_place(portraits[i]) for i in numbers]


def _place(portrait: Portrait) -> _Placed:
    """Return the portrait in its canvas, and the corner and size (x, y) of its picture there, in px."""
    portrait = _limited(portrait)
    height, width = portrait.pixels.shape[:2]
    center = portrait.box.reshape(2, 2).mean(axis=0)
    left, top = (round(CANVAS_PX / 2 - float(at)) for at in center)
    right, bottom = CANVAS_PX - left - width, CANVAS_PX - top - height
    kept = portrait.pixels[max(0, -top) : height - max(0, -bottom), max(0, -left) : width - max(0, -right)]
    around = [max(0, side) for side in (top, bottom, left, right)]
    canvas = cv2.copyMakeBorder(kept, around[0], around[1], around[2], around[3], cv2.BORDER_REPLICATE)
    moved = replace(
        portrait,
        pixels=np.asarray(canvas, np.uint8),
        box=portrait.box + np.array([left, top, left, top]),
        landmarks=portrait.landmarks + np.array([left, top]),
    )
    return moved, (left, top, width, height)


def _limited(portrait: Portrait) -> Portrait:
    scale = LARGEST_FACE_PX / float(max(portrait.box[2:] - portrait.box[:2]))
    if scale > 0.99:
        return portrait
    height, width = (max(1, round(side * scale)) for side in portrait.pixels.shape[:2])
    pixels: Image = np.asarray(cv2.resize(portrait.pixels, (width, height), interpolation=cv2.INTER_AREA))
    return replace(portrait, pixels=pixels, box=portrait.box * scale, landmarks=portrait.landmarks * scale)


def _atlas(canvases: Tensor) -> Tensor:
    """Lay out canvases [N, S, S, 3] uint8 with their lower resolutions."""
    full = canvases.permute(0, 3, 1, 2).float()
    out = torch.zeros(len(full), 3, *ATLAS_PX, dtype=torch.uint8, device=full.device)
    out[:, :, :, :CANVAS_PX] = canvases.permute(0, 3, 1, 2)
    top = 0
    for _ in range(_LEVELS - 1):
        full = F.avg_pool2d(full, 2)
        side = full.shape[-1]
        out[:, :, top : top + side, CANVAS_PX : CANVAS_PX + side] = full.round().byte()
        top += side
    return out

"""Still pairs: single pictures of a real face and its fake counterpart, compressed and cut into batches.

Drawing a pair costs several times what compressing and cutting it anew does, so that each can be used twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from deepfake_triton.arrays import Frames, Image
from deepfake_triton.preprocessing.crops import CropRule, crop_face
from deepfake_triton.training.augmentation.augment import sample_cutout
from deepfake_triton.training.augmentation.codec import h264_round_trip_stills
from deepfake_triton.training.augmentation.degradations import (
    Degradation,
    compress,
    sample_crf,
    sample_jpeg_quality,
)

PAIRS_PER_CODEC_GROUP = 8
"""Pairs of a batch for which one rate factor is drawn: the codec starts once for each factor."""
CUTOUT_PROBABILITY = 0.15
_CROP_JITTER = 0.02


@dataclass(frozen=True)
class CropBatch:
    """Crops [N, S, S, 3] uint8 RGB and labels [N] int64 (0 real, 1 fake).

    Where they are known, `mask_coverage` [N, S, S] uint8 is how much of each pixel is forged (0…255), and
    `degradations` [N] what each crop went through.
    """

    crops: Frames
    labels: npt.NDArray[np.int64]
    mask_coverage: npt.NDArray[np.uint8] | None = None
    degradations: tuple[Degradation, ...] | None = None


@dataclass(frozen=True)
class StillPair:
    """A real image [H, W, 3] uint8 RGB and its fake counterpart, degraded but for the codec.

    `compressed` are both after the codec. The face's `box` [4], the crop's place relative to it, `move` [4],
    and `mask_coverage` of the fake are px of full resolution, of which the images have `scale`. A `mirrored`
    pair is cut mirrored.
    """

    real: Image
    fake: Image
    box: npt.NDArray[np.float64]
    move: npt.NDArray[np.float64]
    degradation: Degradation
    mask_coverage: npt.NDArray[np.uint8]
    scale: float
    compressed: tuple[Image, Image] | None = None
    mirrored: bool = False


def sample_crop_move(rng: np.random.Generator, face_px: float) -> npt.NDArray[np.float64]:
    """Draw by how much a crop's sides [4] miss the face, as a detector's boxes do."""
    shift = face_px * rng.normal(0, _CROP_JITTER, 2)
    grow = face_px * rng.normal(0, _CROP_JITTER)
    return np.concatenate([shift - grow, shift + grow])


def compress_stills(
    rng: np.random.Generator, pairs: Sequence[StillPair], *, heavy: bool = False
) -> list[StillPair]:
    """Pass each pair through its codec; the rate factors of H.264 are shared, and recorded in the pairs.

    `heavy` compression reaches further than what a messenger does.
    """
    groups = max(1, -(-len(pairs) // PAIRS_PER_CODEC_GROUP))
    crfs = sorted(sample_crf(rng, heavy=heavy) for _ in range(groups))
    out = [_compress_alone(pair) for pair in pairs]
    members = [i for i, pair in enumerate(pairs) if pair.degradation.h264_crf is not None]
    for group, crf in enumerate(crfs):
        chosen = members[group::groups]
        if chosen:
            images = [image for i in chosen for image in (pairs[i].real, pairs[i].fake)]
            stills = h264_round_trip_stills(images, crf)
            for i, real, fake in zip(chosen, stills[::2], stills[1::2], strict=True):
                known = replace(pairs[i].degradation, h264_crf=crf)
                out[i] = replace(pairs[i], compressed=(real, fake), degradation=known)
    return out


def reuse_still(rng: np.random.Generator, pair: StillPair, *, heavy: bool = False) -> StillPair:
    """Return the pair for a second use: mirrored, cut at another place, JPEG in another quality.

    What H.264 has left is kept: the codec would cost more than all else.
    """
    face_px = float(max(pair.box[2:] - pair.box[:2]))
    again = replace(pair, mirrored=not pair.mirrored, move=sample_crop_move(rng, face_px))
    quality = sample_jpeg_quality(rng, heavy=heavy)
    if pair.degradation.jpeg_quality is None:
        return again
    return _compress_alone(replace(again, degradation=replace(pair.degradation, jpeg_quality=quality)))


def cut_batch(rng: np.random.Generator, pairs: Sequence[StillPair], rule: CropRule) -> CropBatch:
    """Cut the real crops of compressed pairs, then those of their fakes; a hole is the same in both."""
    crops = [_cut(pair, which, rule) for which in (0, 1) for pair in pairs]
    for real, fake in zip(crops[: len(pairs)], crops[len(pairs) :], strict=True):
        if rng.uniform() < CUTOUT_PROBABILITY:
            rows, columns, color = sample_cutout(rng, rule.side)
            real[rows, columns] = fake[rows, columns] = color
    coverage = [
        _mirror(crop_face(pair.mask_coverage, pair.box + pair.move, rule), pair.mirrored) for pair in pairs
    ]
    return CropBatch(
        np.stack(crops),
        np.repeat([0, 1], len(pairs)),
        np.stack([np.zeros_like(crop) for crop in coverage] + coverage),
        tuple(pair.degradation for pair in pairs) * 2,
    )


def _compress_alone(pair: StillPair) -> StillPair:
    return replace(
        pair, compressed=(compress(pair.real, pair.degradation), compress(pair.fake, pair.degradation))
    )


def _cut(pair: StillPair, which: int, rule: CropRule) -> Image:
    images = pair.compressed or (pair.real, pair.fake)
    return _mirror(crop_face(images[which], (pair.box + pair.move) * pair.scale, rule), pair.mirrored)


def _mirror(image: Image, mirrored: bool) -> Image:
    return np.ascontiguousarray(image[:, ::-1]) if mirrored else image

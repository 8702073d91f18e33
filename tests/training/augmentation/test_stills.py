"""Still pairs: rate factors, mosaics, and what differs between the uses of one pair."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

import numpy as np
import pytest
from support import backdrop

from deepfake_triton.preprocessing.crops import CropRule
from deepfake_triton.training.augmentation.codec import _place_tiles, _tile_px
from deepfake_triton.training.augmentation.degradations import (
    LOWEST_CRF,
    Degradation,
    degrade_alike,
    degrade_before_codec,
)
from deepfake_triton.training.augmentation.stills import (
    StillPair,
    compress_stills,
    cut_batch,
    reuse_still,
)
from deepfake_triton.training.forgery.colors import ColorJitter

pytestmark = pytest.mark.fast


def pair(crf: int | None = None, quality: int | None = None, seed: int = 0) -> StillPair:
    real = np.roll(backdrop(130, 130), seed, axis=1)
    fake = real.copy()
    fake[40:80, 30:70] = 255 - fake[40:80, 30:70]
    coverage = np.zeros((130, 130), np.uint8)
    coverage[40:80, 30:70] = 255
    box = np.array([15.0, 15, 115, 115])
    degradation = Degradation(ColorJitter(), h264_crf=crf, jpeg_quality=quality)
    return StillPair(real, fake, box, np.zeros(4), degradation, coverage, 1.0)


def test_a_still_records_the_rate_factor_that_it_got() -> None:
    pairs = [pair(crf=1, seed=i) for i in range(20)] + [pair()]
    out = compress_stills(np.random.default_rng(0), pairs)
    crfs = [still.degradation.h264_crf for still in out]
    assert len(set(crfs[:20])) == 3 and crfs[20] is None  # one for each eight pairs that began
    assert all(crf is not None and crf >= LOWEST_CRF for crf in crfs[:20])
    loss: dict[int, list[float]] = defaultdict(list)
    for still in out[:20]:
        assert still.compressed is not None and still.degradation.h264_crf is not None
        change = np.abs(still.compressed[0].astype(int) - still.real).mean()
        loss[still.degradation.h264_crf].append(float(change))
    ordered = [np.mean(loss[crf]) for crf in sorted(loss)]
    assert ordered == sorted(ordered)
    assert out[20].compressed is not None and (out[20].compressed[0] == pairs[20].real).all()
    batch = cut_batch(np.random.default_rng(0), out, CropRule(64))
    assert batch.degradations is not None and len(batch.degradations) == len(batch.crops) == 42
    assert [known.h264_crf for known in batch.degradations] == crfs * 2


def test_a_second_use_is_mirrored_and_compressed_anew() -> None:
    first = compress_stills(np.random.default_rng(0), [pair(quality=60), pair(crf=30), pair()])
    again = [reuse_still(np.random.default_rng(seed), still) for seed, still in enumerate(first)]
    assert all(still.mirrored and still.move.any() for still in again)
    assert again[0].degradation.jpeg_quality != 60 and again[0].compressed is not None
    assert (again[0].compressed[0] != first[0].compressed[0]).any()  # type: ignore[index]
    assert all(a.compressed is b.compressed for a, b in zip(again[1:], first[1:], strict=True))
    # At the same place, the second use is the mirror image, forged part included.
    rule = CropRule(100)
    same = [replace(still, move=np.zeros(4)) for still in again]
    a, b = (cut_batch(_NoHole(), stills, rule) for stills in (first[1:], same[1:]))  # type: ignore[arg-type]
    assert (a.crops == b.crops[:, :, ::-1]).all() and (a.crops != b.crops).any()
    assert a.mask_coverage is not None and b.mask_coverage is not None
    assert (a.mask_coverage == b.mask_coverage[:, :, ::-1]).all() and a.mask_coverage[2:].max() == 255
    assert not reuse_still(np.random.default_rng(0), again[0]).mirrored


class _NoHole:
    def uniform(self) -> float:
        return 1.0


def test_tiles_do_not_overlap() -> None:
    rng = np.random.default_rng(0)
    for count in (1, 2, 7, 40):
        sizes = [(int(h), int(w)) for h, w in rng.integers(20, 280, (count, 2))]
        corners, (height, width) = _place_tiles(sizes)
        used = np.zeros((height, width), int)
        for (top, left), (h, w) in zip(corners, sizes, strict=True):
            assert top % 16 == left % 16 == 0 and top + _tile_px(h) <= height and left + _tile_px(w) <= width
            used[top : top + _tile_px(h), left : left + _tile_px(w)] += 1
        assert used.max() == 1 and used.mean() > (0.5 if count > 7 else 0.1)


def test_images_degraded_alike_get_one_noise() -> None:
    image = backdrop(60, 80)
    noisy = Degradation(ColorJitter(), scale=0.5, blur_px=0.7, noise=6)
    first, second = degrade_alike([image, image[:, ::-1]], noisy, 3)
    assert (first == degrade_before_codec(image, noisy, 3)).all()
    assert (second == degrade_before_codec(image[:, ::-1], noisy, 3)).all()

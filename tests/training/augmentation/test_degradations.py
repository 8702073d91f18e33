"""Degradations: their switches, limits and steps."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from support import backdrop

from deepfake_triton.training.augmentation import degradations
from deepfake_triton.training.augmentation.degradations import (
    HEAVIEST_CRF,
    HEAVIEST_JPEG,
    HIGHEST_CRF,
    LOWEST_JPEG,
    Degradation,
    EarlierCompression,
    degrade_alike,
    replace_missing_codec,
    sample_crf,
    sample_degradation,
    sample_jpeg_quality,
)
from deepfake_triton.training.augmentation.motion_blur import MotionBlur
from deepfake_triton.training.forgery.colors import ColorJitter

pytestmark = pytest.mark.fast

PLAIN = Degradation(ColorJitter())
NEXT_DRAWS = {0: 377217572, 1: 1693137748, 2: 907923172, 3: 1584494583}
"""What a generator of each seed gave after a degradation before there were switches."""


@pytest.mark.parametrize("seed", NEXT_DRAWS)
def test_switched_off_steps_draw_nothing(seed: int) -> None:
    rng = np.random.default_rng(seed)
    drawn = sample_degradation(rng)
    assert int(rng.integers(2**31)) == NEXT_DRAWS[seed]
    assert drawn.motion_blur is None and drawn.earlier is None and drawn.chroma_scale == 1


def test_each_switch_adds_its_own_steps_alone() -> None:
    blurred = 0
    for seed in range(200):
        plain = sample_degradation(np.random.default_rng(seed))
        moving = sample_degradation(np.random.default_rng(seed), motion_blur=True)
        assert replace(moving, motion_blur=None) == plain
        heavy = sample_degradation(np.random.default_rng(seed), heavy_compression=True)
        assert heavy.motion_blur is None and heavy.color_jitter == plain.color_jitter
        blurred += moving.motion_blur is not None
    assert 40 < blurred < 80


def test_heavy_compression_reaches_further() -> None:
    drawn = [sample_degradation(np.random.default_rng(seed), heavy_compression=True) for seed in range(2000)]
    crfs = [one.h264_crf for one in drawn if one.h264_crf is not None]
    qualities = [one.jpeg_quality for one in drawn if one.jpeg_quality is not None]
    scales = [one.scale for one in drawn]
    assert HIGHEST_CRF < max(crfs) == HEAVIEST_CRF
    assert HEAVIEST_JPEG <= min(qualities) < 20 < LOWEST_JPEG
    assert 0.25 <= min(scales) < 0.3 and max(scales) == 1
    assert 0.2 < np.mean([one.earlier is not None for one in drawn]) < 0.4
    assert 0.1 < np.mean([one.chroma_scale < 1 for one in drawn]) < 0.3
    usual = [sample_degradation(np.random.default_rng(seed)) for seed in range(2000)]
    assert max(one.h264_crf or 0 for one in usual) == HIGHEST_CRF
    assert min(one.jpeg_quality or 100 for one in usual) == LOWEST_JPEG
    assert not any(
        one.motion_blur or one.earlier
        for one in (sample_degradation(np.random.default_rng(seed), 0.0) for seed in range(50))
    )


def test_rate_factors_and_qualities_are_heavy_on_demand() -> None:
    rng = np.random.default_rng(0)
    assert max(sample_crf(rng) for _ in range(500)) == HIGHEST_CRF
    assert max(sample_crf(rng, heavy=True) for _ in range(500)) == HEAVIEST_CRF
    assert min(sample_jpeg_quality(rng) for _ in range(900)) == LOWEST_JPEG
    assert min(sample_jpeg_quality(rng, heavy=True) for _ in range(900)) < 20


def test_jpeg_stands_in_for_the_heaviest_rate_factor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(degradations, "has_h264", lambda: False)
    qualities = [
        replace_missing_codec(replace(PLAIN, h264_crf=crf)).jpeg_quality for crf in (18, 30, 39, HEAVIEST_CRF)
    ]
    assert qualities == sorted(qualities, key=lambda quality: -(quality or 0))
    assert all(quality is not None and 5 <= quality <= 95 for quality in qualities)


def test_chroma_loses_detail_and_luma_keeps_it() -> None:
    rng = np.random.default_rng(0)
    image = np.clip(128 + rng.normal(0, 25, (96, 96, 3)), 0, 255).astype(np.uint8)
    (out,) = degrade_alike([image], replace(PLAIN, chroma_scale=0.25), 0)
    before, after = (cv2.cvtColor(i, cv2.COLOR_RGB2YCrCb).astype(float) for i in (image, out))
    assert after[..., 1:].std() < 0.4 * before[..., 1:].std()
    assert np.abs(after[..., 0] - before[..., 0]).mean() < 2


def test_an_earlier_upload_keeps_the_size_and_loses_detail() -> None:
    image = np.clip(backdrop(100, 120) + np.random.default_rng(0).normal(0, 15, (100, 120, 3)), 0, 255)
    image = image.astype(np.uint8)
    losses = []
    for earlier in (EarlierCompression(95), EarlierCompression(25), EarlierCompression(25, 0.4)):
        (out,) = degrade_alike([image], replace(PLAIN, earlier=earlier), 0)
        assert out.shape == image.shape and out.dtype == np.uint8
        losses.append(float(np.abs(out.astype(int) - image).mean()))
    assert 0 < losses[0] < losses[1] < losses[2] < 30


def test_motion_blur_is_that_of_the_full_resolution() -> None:
    image = np.zeros((100, 100, 3), np.uint8)
    image[:, 50:] = 200
    (out,) = degrade_alike([image], replace(PLAIN, motion_blur=MotionBlur(0.2), scale=0.5), 0)
    assert out.shape == (50, 50, 3)
    ramp = out[25, :, 0].astype(int)
    assert 7 <= np.count_nonzero((ramp > 10) & (ramp < 190)) <= 11


def test_all_images_get_the_same() -> None:
    image = backdrop(80, 80)
    for seed in range(30):
        drawn = sample_degradation(np.random.default_rng(seed), heavy_compression=True, motion_blur=True)
        first, second = degrade_alike([image, image.copy()], drawn, seed)
        assert (first == second).all()

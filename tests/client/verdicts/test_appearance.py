"""Portraits, and the colors of heads whose difference is known by construction."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import Portrait
from support import backdrop, pasted

from deepfake_triton.client.verdicts.appearance import PORTRAIT, color_distance, color_histogram, cut_portrait

pytestmark = pytest.mark.fast


def test_a_portrait_is_cut_from_the_middle_of_the_frames_in_which_the_face_was_seen() -> None:
    levels = np.arange(0, 200, 10, dtype=np.uint8)
    frames = np.broadcast_to(levels[:, None, None, None], (20, 40, 60, 3)).copy()
    boxes = np.tile(np.array([20, 10, 36, 30], np.float32), (20, 1))
    portrait = cut_portrait(frames, boxes, np.array([3, 5, 12]))
    assert portrait.shape == (PORTRAIT.side, PORTRAIT.side, 3) and set(portrait.ravel()) == {50}


def test_colors_stay_where_the_head_does_and_go_with_the_light(portrait: Portrait) -> None:
    def colors(image: np.ndarray) -> np.ndarray:
        box = np.array([portrait.face_at(40, 30)], np.float32)
        return color_histogram(cut_portrait(image[None], box, np.array([0])))

    here = pasted(backdrop(240, 320), portrait.patch, 40, 30)
    known = colors(here)
    assert float(np.linalg.norm(known)) == pytest.approx(1, abs=1e-5)
    noisy = np.clip(here + np.random.default_rng(1).normal(0, 2, here.shape), 0, 255).astype(np.uint8)
    assert color_distance(known, colors(noisy)) < 0.25
    assert color_distance(known, colors(np.bitwise_not(here))) > 0.8
    assert color_distance(known, colors((here * 0.5).astype(np.uint8))) > 0.5


def test_equal_colors_are_0_apart_and_none_in_common_1() -> None:
    warm, cold = np.zeros((2, 96, 96, 3), np.uint8)
    warm[:], cold[:] = (200, 150, 130), (120, 150, 200)
    assert color_distance(color_histogram(warm), color_histogram(warm)) == 0
    assert color_distance(color_histogram(warm), color_histogram(cold)) == pytest.approx(1)

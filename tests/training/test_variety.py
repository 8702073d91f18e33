"""A portrait under other skin and light: its landmarks and its box stay on the face."""

from __future__ import annotations

import cv2
import numpy as np

from deepfake_triton.training.portraits import Portrait
from deepfake_triton.training.variety import hole, varied

LANDMARKS = np.array([[120.0, 110], [180, 112], [150, 150], [128, 190], [172, 188]])


def dotted() -> Portrait:
    """Grey, with a white dot at each landmark."""
    pixels = np.full((300, 300, 3), 70, np.uint8)
    for x, y in LANDMARKS:
        cv2.circle(pixels, (int(x), int(y)), 5, (255, 255, 255), -1)
    return Portrait(pixels, np.array([90.0, 70, 210, 220]), LANDMARKS, "dots.png", "nobody")


def test_landmarks_move_with_what_they_mark() -> None:
    moved_px = []
    for seed in range(8):
        changed = varied(np.random.default_rng(seed), dotted())
        assert changed.pixels.shape == (300, 300, 3) and changed.pixels.dtype == np.uint8
        for x, y in changed.landmarks:
            window = changed.pixels[round(y) - 12 : round(y) + 13, round(x) - 12 : round(x) + 13].sum(axis=2)
            rows, columns = np.nonzero(window > (int(window.max()) + int(np.median(window))) / 2)
            assert np.hypot(columns.mean() - 12, rows.mean() - 12) < 2.5
        moved_px.append(np.abs(changed.landmarks - LANDMARKS).max())
        x1, y1, x2, y2 = changed.box
        assert x1 < changed.landmarks[:, 0].min() and changed.landmarks[:, 0].max() < x2
        assert y1 < changed.landmarks[:, 1].min() and changed.landmarks[:, 1].max() < y2
    assert max(moved_px) > 3 and np.ptp(moved_px) > 1


def test_the_same_seed_varies_alike() -> None:
    first, again, other = (varied(np.random.default_rng(seed), dotted()).pixels for seed in (3, 3, 4))
    assert (first == again).all() and (first != other).any()


def test_a_hole_lies_inside_the_crop() -> None:
    for seed in range(50):
        rows, columns, colour = hole(np.random.default_rng(seed), 64)
        for part in (rows, columns):
            assert 0 <= part.start < part.stop <= 64 and part.stop - part.start <= 0.35 * 64
        assert colour.shape == (3,) and colour.dtype == np.uint8

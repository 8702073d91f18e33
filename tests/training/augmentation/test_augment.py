"""Augmented portraits: landmarks and box stay on the face."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from deepfake_triton.training.augmentation.augment import (
    augment_portrait,
    move_face,
    render_varied_view,
    sample_cutout,
    sample_variation,
)
from deepfake_triton.training.augmentation.camera_motion import Placement, render_view, view_matrix
from deepfake_triton.training.faces.portraits import Portrait

pytestmark = pytest.mark.fast

LANDMARKS = np.array([[120.0, 110], [180, 112], [150, 150], [128, 190], [172, 188]])


def dotted() -> Portrait:
    """Gray, with a white dot at each landmark."""
    pixels = np.full((300, 300, 3), 70, np.uint8)
    for x, y in LANDMARKS:
        cv2.circle(pixels, (int(x), int(y)), 5, (255, 255, 255), -1)
    return Portrait(pixels, np.array([90.0, 70, 210, 220]), LANDMARKS, "dots.png", "nobody")


def test_landmarks_move_with_what_they_mark() -> None:
    moved_px = []
    for seed in range(8):
        changed = augment_portrait(np.random.default_rng(seed), dotted())
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


def test_the_same_seed_augments_identically() -> None:
    first, again, other = (
        augment_portrait(np.random.default_rng(seed), dotted()).pixels for seed in (3, 3, 4)
    )
    assert (first == again).all() and (first != other).any()


def test_a_cutout_lies_inside_the_crop() -> None:
    for seed in range(50):
        rows, columns, color = sample_cutout(np.random.default_rng(seed), 64)
        for part in (rows, columns):
            assert 0 <= part.start < part.stop <= 64 and part.stop - part.start <= 0.35 * 64
        assert color.shape == (3,) and color.dtype == np.uint8


@pytest.mark.parametrize("face_px", [40.0, 100.0, 180.0])
@pytest.mark.parametrize("mirrored", [False, True])
def test_a_varied_view_is_that_of_the_varied_portrait(face_px: float, mirrored: bool) -> None:
    smooth = np.random.default_rng(0).uniform(0, 255, (12, 12, 3)).astype(np.float32)
    pixels = np.clip(cv2.resize(smooth, (300, 300), interpolation=cv2.INTER_CUBIC), 0, 255)
    portrait = Portrait(pixels.astype(np.uint8), dotted().box, LANDMARKS, "waves.png", "nobody")
    for seed in range(4):
        whole = augment_portrait(np.random.default_rng(seed), portrait)
        variation = sample_variation(np.random.default_rng(seed), portrait)
        moved = move_face(portrait, variation)
        size = (round(1.2 * face_px), round(1.3 * face_px))
        placement = Placement(
            face_px, (0.65 * face_px, 0.6 * face_px), 8.0, stretch=(1.1, 0.03), mirrored=mirrored
        )
        expected = render_view(whole, view_matrix(whole, placement), size)
        view = render_varied_view(moved, variation, matrix=view_matrix(moved, placement), size=size)
        difference = np.abs(view.pixels.astype(int) - expected.pixels)
        assert difference.mean() < 1.0 and np.quantile(difference, 0.99) < 6
        unchanged = render_view(portrait, view_matrix(portrait, placement), size)
        assert np.abs(unchanged.pixels.astype(int) - expected.pixels).mean() > 5
        np.testing.assert_allclose(view.landmarks, expected.landmarks, atol=1e-6)
        np.testing.assert_allclose(view.box, expected.box, atol=1e-6)

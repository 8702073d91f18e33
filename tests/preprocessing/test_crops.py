from __future__ import annotations

import numpy as np
import pytest

from deepfake_triton.preprocessing.crops import CropRule, crop_face

pytestmark = pytest.mark.fast


def ramp(height: int = 200, width: int = 240) -> np.ndarray:
    """A image whose value says where one is: red = x, green = y."""
    y, x = np.mgrid[:height, :width]
    return np.stack([x, y, np.full_like(x, 7)], axis=-1).astype(np.uint8)


@pytest.mark.parametrize("side", [40.0, 56.0, 112.0, 150.0])
@pytest.mark.parametrize("offset", [0.0, 0.25, 0.5])
def test_every_pixel_comes_from_its_place(side: float, offset: float) -> None:
    left, top = 30 + offset, 20 + offset
    crop = crop_face(ramp(), np.array([left, top, left + side, top + side]), CropRule(112))
    centers = (np.arange(112) + 0.5) * side / 112 - 0.5
    assert crop.shape == (112, 112, 3) and crop.dtype == np.uint8
    assert np.abs(crop[50, :, 0] - (left + centers)).max() <= 1.0
    assert np.abs(crop[:, 50, 1] - (top + centers)).max() <= 1.0
    assert np.all(crop[..., 2] == 7)


def test_a_tall_box_gives_a_square_around_its_center() -> None:
    crop = crop_face(ramp(), np.array([100.0, 50, 140, 110]), CropRule(60))
    assert np.array_equal(crop, ramp()[50:110, 90:150])


def test_the_margin_widens_each_side() -> None:
    crop = crop_face(ramp(), np.array([100.0, 60, 140, 100]), CropRule(60, margin=0.25))
    assert np.array_equal(crop, ramp()[50:110, 90:150])


def test_a_large_face_is_averaged_and_does_not_alias() -> None:
    stripes = np.zeros((400, 400, 3), np.uint8)
    stripes[:, ::2] = 200
    crop = crop_face(stripes, np.array([10.0, 10, 346, 346]), CropRule(112))
    assert crop.min() > 60 and crop.max() < 140


def test_beyond_the_edge_the_nearest_pixel_repeats() -> None:
    crop = crop_face(ramp(), np.array([-20.0, -20, 20, 20]), CropRule(40))
    assert np.all(crop[:20, :20, :2] == 0)
    assert np.array_equal(crop[20:, 20:], ramp()[:20, :20])


def test_an_eighth_of_a_pixel_is_no_jump() -> None:
    rng = np.random.default_rng(0)
    smooth = np.repeat(np.repeat(rng.integers(0, 256, (25, 30, 3), np.uint8), 8, 0), 8, 1)
    one = crop_face(smooth, np.array([40.0, 40, 120, 120]), CropRule(112)).astype(int)
    two = crop_face(smooth, np.array([40.125, 40, 120.125, 120]), CropRule(112)).astype(int)
    assert np.abs(one - two).mean() < 3

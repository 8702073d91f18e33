"""Images of several sizes are fitted into one, whole, centered and undistorted."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepfake_triton.arrays import Image
from deepfake_triton.preprocessing.decoding.letterbox import fit_letterbox, letterbox_image, stack_images

pytestmark = pytest.mark.fast

LANDSCAPE, PORTRAIT = (320, 240), (216, 400)
SIZES = st.tuples(st.integers(1, 400), st.integers(1, 400))


def plain(size: tuple[int, int], shade: int) -> Image:
    return np.full((size[1], size[0], 3), shade, np.uint8)


@given(SIZES, SIZES)
def test_a_fit_is_inside_and_touches_two_sides(own: tuple[int, int], canvas: tuple[int, int]) -> None:
    fit = fit_letterbox(own, *canvas)
    assert fit.left >= 0 and fit.left + fit.width <= canvas[0]
    assert fit.top >= 0 and fit.top + fit.height <= canvas[1]
    assert fit.width == canvas[0] or fit.height == canvas[1]
    assert abs(fit.width - own[0] * fit.scale) <= 1 and abs(fit.height - own[1] * fit.scale) <= 1


def test_images_of_one_shape_are_taken_as_they_are() -> None:
    images = [plain(LANDSCAPE, 90), plain(LANDSCAPE, 90)]
    assert np.array_equal(stack_images(images), np.stack(images))
    assert letterbox_image(images[0], *LANDSCAPE) is images[0]
    assert stack_images([plain(PORTRAIT, 90), plain(LANDSCAPE, 90)]).shape == (2, *PORTRAIT[::-1], 3)


def test_a_fit_has_the_image_in_the_middle_of_black() -> None:
    white = np.full((100, 50, 3), 255, np.uint8)
    found = letterbox_image(white, 200, 100)
    assert (found[:, 75:125] == 255).all() and not found[:, :75].any() and not found[:, 125:].any()

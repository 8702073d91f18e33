from __future__ import annotations

import numpy as np
import pytest
from support import quarter_colors, quarters

from deepfake_triton.benchmarks.measure.letterbox import letterbox

pytestmark = pytest.mark.fast


def test_a_picture_is_enlarged_to_the_full_height_in_the_middle_of_a_blurred_copy() -> None:
    image = quarters(100, 100)
    framed = letterbox(image, 640, 360)
    assert framed.shape == (360, 640, 3) and framed.dtype == np.uint8
    middle = framed[:, 140:500]
    assert quarter_colors(middle) == quarter_colors(image)
    left, right = framed[:, :140], framed[:, 500:]
    assert np.abs(np.diff(left.astype(int), axis=1)).max() < 20, "nothing but soft edges"
    assert left.std() > 10 and right.std() > 10

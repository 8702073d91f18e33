from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from deepfake_triton.errors import InvalidFrames
from deepfake_triton.preprocessing.masking import masked_probability

pytestmark = pytest.mark.fast


def test_a_row_in_which_nothing_was_observed_is_no_number() -> None:
    probability = np.array([[0.25], [0.5], [0.75]], np.float32)
    observed = np.array([[True, False], [False, False], [False, True]])
    masked = masked_probability(probability, observed)
    assert masked.dtype == np.float32 and np.array_equal(masked, [[0.25], [np.nan], [0.75]], equal_nan=True)
    assert probability[1] == 0.5, "the input stays as it is"
    assert not (masked[1] >= 0.5) and not (masked[1] < 0.5), "neither FAKE nor REAL"


@pytest.mark.parametrize("shape", [(2, 1), (1,), (1, 2)])
def test_shapes_that_do_not_belong_together_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InvalidFrames, match=r"classifier_probability: got .* expected \[F, 1\]"):
        masked_probability(np.zeros(shape, np.float32), np.ones((1, 4), np.bool_))


def test_the_step_costs_no_more_than_numpy() -> None:
    """Its process holds nothing else: not OpenCV, of which `face_tracker` has two already."""
    loaded = "import sys, deepfake_triton.preprocessing.masking; print('cv2' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepfake_triton.preprocessing.detections import (
    FaceRule,
    box_overlap,
    clamp_to_frame,
    faces_in_frame,
    round_to_step,
)

pytestmark = pytest.mark.fast

RULE = FaceRule()


def candidates(*rows: tuple[float, float, float, float, float]) -> np.ndarray:
    table = np.zeros((32, 15), np.float32)
    table[: len(rows), :5] = rows
    return table


def test_keeps_the_best_of_overlapping_candidates_best_first() -> None:
    found = faces_in_frame(
        candidates((10, 10, 60, 60, 0.7), (12, 10, 62, 60, 0.9), (200, 20, 240, 70, 0.8)), RULE
    )
    assert found.tolist() == [[12, 10, 62, 60], [200, 20, 240, 70]]


def test_candidates_that_are_weak_or_small_are_no_faces() -> None:
    weak, small = (10, 10, 60, 60, 0.49), (100, 100, 100 + RULE.min_side_px - 1, 160, 0.9)
    assert len(faces_in_frame(candidates(weak, small), RULE)) == 0
    assert len(faces_in_frame(candidates(weak, small, (10, 10, 60, 60, 0.5)), RULE)) == 1


def test_an_empty_frame_has_no_faces() -> None:
    assert faces_in_frame(np.zeros((32, 15), np.float32), RULE).shape == (0, 4)


def test_the_last_bits_of_an_engine_change_nothing() -> None:
    exact = candidates((10.0, 10.0, 60.0, 60.0, 0.5), (200.25, 20, 240, 70, 0.8))
    noise = np.random.default_rng(0).uniform(-1e-4, 1e-4, exact.shape).astype(np.float32)
    assert np.array_equal(faces_in_frame(exact, RULE), faces_in_frame(exact + noise, RULE))


def test_numbers_that_are_none_do_not_crash() -> None:
    assert len(faces_in_frame(candidates((np.nan, 0, np.inf, 50, 0.9)), RULE)) == 0


def test_what_a_detector_reports_is_not_moved() -> None:
    table = candidates((0, 0, 640, 360, 0.9), (10.125, 20.5, 60.7, 80.3, 0.7), (600, 300, 640, 360, 0.6))
    table[0, 5:] = np.linspace(-50, 700, 10)  # landmarks may lie outside
    assert np.array_equal(clamp_to_frame(table[None], 360, 640), table[None])


def test_boxes_are_clamped_to_their_frame() -> None:
    table = candidates((-50, -1e4, 1e4, 100, 0.9), (700, 10, 900, 200, 0.8), (500, 300, 400, 200, 0.7))
    (inside,) = clamp_to_frame(table[None], 360, 640)
    assert inside[:2, :4].tolist() == [[0, 0, 640, 100], [640, 10, 640, 200]]
    assert faces_in_frame(inside, RULE).tolist() == [[0, 0, 640, 100]], "nothing beside it or inside out"


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("field", range(5))
def test_a_row_with_a_number_that_is_none_is_no_face(bad: float, field: int) -> None:
    table = candidates((10, 10, 60, 60, 0.9), (100, 100, 160, 160, 0.8))
    table[0, field] = bad
    (inside,) = clamp_to_frame(table[None], 360, 640)
    assert not inside[0].any()
    assert faces_in_frame(inside, RULE).tolist() == [[100, 100, 160, 160]]


def test_overlap_of_known_boxes() -> None:
    boxes = np.array([[0.0, 0, 10, 10], [5, 0, 15, 10], [20, 20, 30, 30], [3, 3, 3, 3]])
    expected = [[1, 1 / 3, 0, 0], [1 / 3, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]]
    assert box_overlap(boxes, boxes) == pytest.approx(np.array(expected))


@given(st.lists(st.floats(-4096, 4096, width=32), min_size=1, max_size=20))
def test_rounded_values_are_near_and_a_multiple_of_the_step(values: list[float]) -> None:
    result = round_to_step(np.array(values), 1 / 8)
    assert np.all(np.abs(result - values) <= 1 / 16)
    assert np.array_equal(result * 8, np.rint(result * 8))
    assert np.array_equal(round_to_step(result, 1 / 8), result)

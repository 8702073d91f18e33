from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepfake_triton.serving.graph_limits import GraphLimits

pytestmark = pytest.mark.fast


def sizes(limits: GraphLimits, *shape: int) -> list[int]:
    rows = np.arange(shape[0])
    return [len(rows[piece]) for piece in limits.pieces([np.zeros(shape, np.uint8)])]


def test_batches_are_cut_into_powers_of_two() -> None:
    limits = GraphLimits(run_elements=2**23, run_rows=8)
    assert sizes(limits, 20, 360, 640, 3) == [8, 8, 4]
    assert sizes(limits, 7, 640, 640, 3) == [4, 2, 1]
    assert sizes(limits, 3, 1080, 1920, 3) == [1, 1, 1]
    assert sizes(limits, 2, 4096, 4096, 3) == [1, 1], "one row at a time, however large"
    assert sizes(limits, 0, 8, 8, 3) == [0]
    assert sizes(GraphLimits(run_elements=64), 5, 20) == [2, 2, 1]
    assert sizes(GraphLimits(run_rows=4), 5, 20) == [4, 1]


@given(
    rows=st.integers(1, 70),
    row=st.integers(1, 50),
    elements=st.integers(0, 100),
    max_rows=st.integers(0, 20),
)
def test_pieces_hold_every_row_once_and_are_few_sizes(
    *, rows: int, row: int, elements: int, max_rows: int
) -> None:
    limits = GraphLimits(run_elements=elements, run_rows=max_rows)
    if not limits.splits_batches:
        return
    tensor = np.arange(rows * row).reshape(rows, row)
    parts = [tensor[piece] for piece in limits.pieces([tensor])]
    assert np.array_equal(np.concatenate(parts), tensor)
    for part in parts:
        assert len(part).bit_count() == 1
        assert len(part) == 1 or (
            (not elements or part.size <= elements) and (not max_rows or len(part) <= max_rows)
        )


def test_what_is_too_large_is_said_with_both_numbers() -> None:
    limits = GraphLimits(request_elements=100, row_elements=40)
    assert limits.refusal("frames", np.zeros((2, 40))) is None
    assert "[3, 40], 120 elements, at most 100" in str(limits.refusal("frames", np.zeros((3, 40))))
    assert "50 elements for each row of the batch, at most 40" in str(limits.refusal("a", np.zeros((1, 50))))
    assert "[2, 0], expected no side of 0" in str(limits.refusal("frames", np.zeros((2, 0))))
    assert "[2, 0], expected no side of 0" in str(GraphLimits().refusal("frames", np.zeros((2, 0))))


def test_a_row_beyond_a_run_is_known() -> None:
    limits = GraphLimits(run_elements=100)
    assert limits.is_exceeded([np.zeros((2, 101))]) and not limits.is_exceeded([np.zeros((9, 100))])
    assert not GraphLimits(run_rows=1).is_exceeded([np.zeros((2, 101))])


def test_a_gpu_s_runs_hold_more_while_requests_may_not() -> None:
    limits = GraphLimits(request_elements=100, row_elements=40, run_elements=64, run_rows=4)
    assert limits.scaled(8) == GraphLimits(100, 40, run_elements=512, run_rows=32)
    assert not GraphLimits().scaled(8).splits_batches, "no limit stays none"

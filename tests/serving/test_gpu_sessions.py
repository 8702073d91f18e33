"""Sessions by their number of rows, with ONNX Runtime's plain provider in place of a GPU's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import written_graph

from deepfake_triton import contracts
from deepfake_triton.serving.gpu_sessions import (
    WARM_FRAMES,
    WARM_TRACKS,
    GpuSessions,
    Session,
    padded_rows,
)
from deepfake_triton.serving.warm_up import InputSpec

pytestmark = pytest.mark.fast

WEIGH = """
<ir_version: 8, opset_import: ["" : 17]>
weigh (float[N, D] features, float[N, 1] weight) => (float[N, 1] total, float[N, D] scaled)
<int64[1] axis = {1}>
{
  scaled = Mul(features, weight)
  total = ReduceSum <keepdims = 1> (scaled, axis)
}
"""
MEAN = """
<ir_version: 8, opset_import: ["" : 17]>
mean (uint8[N, H, W, 3] frames) => (float[N, 1, 1, 1] brightness)
{
  exact = Cast <to = 1> (frames)
  brightness = ReduceMean <axes = [1, 2, 3]> (exact)
}
"""


class Opener:
    """Opens sessions of a graph, and counts them and the rows that they were given."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.opened: list[onnxruntime.InferenceSession] = []
        self.rows: list[list[int]] = []

    def __call__(self) -> Session:
        session = onnxruntime.InferenceSession(str(self._path), providers=["CPUExecutionProvider"])
        rows: list[int] = []
        self.opened.append(session)
        self.rows.append(rows)

        class Counting:
            def run(self, output_names: object, feed: dict[str, np.ndarray]) -> list[np.ndarray]:
                rows.append(len(next(iter(feed.values()))))
                found: list[np.ndarray] = session.run(output_names, feed)
                return found

        return Counting()


@pytest.fixture
def opener(tmp_path: Path) -> Opener:
    return Opener(written_graph(WEIGH, tmp_path / "weigh.onnx"))


@pytest.fixture
def sessions(opener: Opener) -> GpuSessions:
    return GpuSessions(opener(), opener, inputs=["features", "weight"], outputs=["total", "scaled"])


def feed(rows: int, seed: int, columns: int = 5) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [
        rng.normal(size=(rows, columns)).astype(np.float32),
        rng.normal(size=(rows, 1)).astype(np.float32),
    ]


@pytest.mark.parametrize("counts", [[1], [5], [2, 1, 4], [1] * 9, [20, 20, 7]])
def test_rows_of_several_feeds_are_answered_in_their_order(
    opener: Opener, sessions: GpuSessions, counts: list[int]
) -> None:
    feeds = [feed(rows, seed) for seed, rows in enumerate(counts)]
    total, scaled = sessions.run(feeds)
    features, weight = (np.concatenate(tensors) for tensors in zip(*feeds, strict=True))
    expected = opener.opened[0].run(["total", "scaled"], {"features": features, "weight": weight})
    assert np.array_equal(total, expected[0]) and np.array_equal(scaled, expected[1])
    assert total.shape == (sum(counts), 1)


def test_each_number_of_rows_has_a_session_that_is_opened_once(opener: Opener, sessions: GpuSessions) -> None:
    for rows in (3, 5, 6, 3, 5, 8, 7, 40, 44):
        (_, scaled) = sessions.run([feed(rows, rows)])
        assert len(scaled) == rows
    assert opener.rows == [[3, 3], [6, 6, 6], [8, 8], [48, 48]]


def test_earlier_answers_stay_as_they_were(sessions: GpuSessions) -> None:
    first = sessions.run([feed(4, 0)])
    kept = [result.copy() for result in first]
    sessions.run([feed(4, 1)])
    sessions.run([feed(4, 2, columns=50)])
    assert all(np.array_equal(result, copy) for result, copy in zip(first, kept, strict=True))


def test_other_columns_in_the_same_number_of_rows_are_answered(sessions: GpuSessions) -> None:
    for columns in (5, 2, 300):
        features, weight = feed(6, columns, columns)
        (_, scaled) = sessions.run([[features, weight]])
        assert np.array_equal(scaled, features * weight)


def test_usual_numbers_of_tracks_are_prepared(opener: Opener) -> None:
    prepared = GpuSessions(opener(), opener, inputs=["features", "weight"], outputs=["total"])
    dtype = np.dtype(np.float32)
    prepared.warm_up([InputSpec("features", (-1,), dtype), InputSpec("weight", (1,), dtype)])
    assert [rows for (rows,) in opener.rows] == list(WARM_TRACKS)


def test_frames_are_prepared_for_a_few_clips(tmp_path: Path) -> None:
    opener = Opener(written_graph(MEAN, tmp_path / "mean.onnx"))
    prepared = GpuSessions(opener(), opener, inputs=["frames"], outputs=["brightness"])
    spec = InputSpec(contracts.FRAMES.name, (-1, -1, 3), np.dtype(np.uint8))
    assert spec.typical_shape() == (*contracts.TYPICAL_FRAME_HW, 3)
    prepared.warm_up([spec])
    assert [rows for (rows,) in opener.rows] == [padded_rows(rows) for rows in WARM_FRAMES]
    frames = np.full((2, 4, 6, 3), 7, np.uint8)
    (brightness,) = prepared.run([[frames], [frames + 1]])
    assert brightness.ravel().tolist() == [7, 7, 8, 8]


@given(st.integers(1, 5000), st.integers(1, 5000))
def test_runs_are_filled_by_less_than_half_to_few_sizes(rows: int, other: int) -> None:
    padded = padded_rows(rows)
    assert rows <= padded < 1.5 * rows + 1 and padded_rows(padded) == padded
    assert (padded_rows(other) >= padded) if other >= rows else (padded_rows(other) <= padded)


def test_the_sizes_up_to_a_full_batch_are_few() -> None:
    assert sorted({padded_rows(rows) for rows in range(1, 65)}) == [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64]

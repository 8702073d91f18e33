"""The clock is monotonic whatever the timestamps do."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepfake_triton.contracts import MAX_VIDEO_SECONDS
from deepfake_triton.preprocessing.decoding.timestamps import (
    DISCONTINUITY_SECONDS,
    Clock,
    Extent,
    PacketTimes,
    measure_packets,
)

pytestmark = pytest.mark.fast

FRAME = 0.04
STAMPS = st.lists(st.none() | st.floats(-1e6, 1e6) | st.sampled_from([0.0, 0.04, 95443.7]), max_size=60)


def times(stamps: list[float | None], gap: float = MAX_VIDEO_SECONDS) -> list[float]:
    clock = Clock(gap)
    return [clock.display_interval(stamp, FRAME)[0] for stamp in stamps]


def film(frames: int, start: float = 0.0) -> list[float | None]:
    return [start + FRAME * index for index in range(frames)]


@given(STAMPS, st.floats(-1, 1e9) | st.just(math.nan), st.floats(0.5, 1e5))
def test_times_rise_strictly_and_are_finite(stamps: list[float | None], length: float, gap: float) -> None:
    clock = Clock(gap)
    intervals = [clock.display_interval(stamp, length) for stamp in stamps]
    assert all(0 <= begin < end < math.inf for begin, end in intervals)
    assert all(one[0] < other[0] for one, other in itertools.pairwise(intervals))


@given(st.lists(st.floats(0.001, 9), min_size=1, max_size=50), st.floats(0, 9))
def test_a_clock_that_rises_is_left_alone(steps: list[float], first: float) -> None:
    stamps = list(itertools.accumulate(steps, initial=first))
    clock = Clock(DISCONTINUITY_SECONDS)
    assert [clock.display_interval(stamp, FRAME)[0] for stamp in stamps] == pytest.approx(stamps, abs=1e-6)
    assert clock.discontinuities == 0


@given(st.integers(1, 40), st.lists(st.tuples(st.integers(1, 40), st.floats(0, 90_000)), max_size=3))
def test_concatenated_parts_follow_one_another(first: int, others: list[tuple[int, float]]) -> None:
    """Each part counts from anywhere, behind a jump back or one that is longer than a pause."""
    stamps = film(first)
    for frames, start in others:
        end = stamps[-1]
        assert end is not None
        is_pause = -0.1 <= start - end <= DISCONTINUITY_SECONDS + FRAME
        stamps += film(frames, end + 2 * DISCONTINUITY_SECONDS if is_pause else start)
    clock = Clock(DISCONTINUITY_SECONDS)
    intervals = [clock.display_interval(stamp, FRAME)[0] for stamp in stamps]
    assert intervals == pytest.approx([FRAME * index for index in range(len(stamps))], abs=1e-4)
    assert clock.discontinuities == len(others)


@pytest.mark.parametrize(
    ("stamps", "expected"),
    [
        ([0.0, 0.04, 0.04, 0.12], [0.0, 0.04, 0.08, 0.12]),
        ([0.0, 0.04, None, 0.12], [0.0, 0.04, 0.08, 0.12]),
        ([None, None, None], [0.0, 0.04, 0.08]),
        ([5.0] * 4, [5.0, 5.04, 5.08, 5.12]),
        ([0.0, 0.04, 0.03, 0.08, 0.12, 0.16], [0.0, 0.04, 0.06, 0.08, 0.12, 0.16]),
        ([-0.5, -0.46, -0.42], [0.0, 0.04, 0.08]),
        ([2.0, 2.04], [2.0, 2.04]),
        ([1e12, 1e12 + 0.04], [0.0, 0.04]),
        ([0.0, 0.04, 3600.0, 3600.04], [0.0, 0.04, 3600.0, 3600.04]),
        ([0.0, 0.04, 1e6, 1e6 + 0.04], [0.0, 0.04, 0.08, 0.12]),
    ],
)
def test_what_files_do(stamps: list[float | None], expected: list[float]) -> None:
    assert times(stamps) == pytest.approx(expected, abs=1e-4)


def test_a_pause_is_kept_where_clocks_cannot_start_anew() -> None:
    stamps = [*film(2), *film(2, start=30.0)]
    assert times(stamps)[2] == 30.0
    assert times(stamps, DISCONTINUITY_SECONDS)[2] == pytest.approx(0.08)


def test_the_clock_continues_after_a_seek() -> None:
    clock = Clock()
    assert clock.display_interval(-1.0, FRAME)[0] == 0.0
    clock.reset_after_seek()
    assert clock.display_interval(59.0, FRAME) == pytest.approx((60.0, 60.04))
    clock.reset_after_seek()
    assert clock.display_interval(9.0, FRAME)[0] == 10.0 and clock.discontinuities == 0


def packets(frames: int, start: float = 0.0, delay: int = 2) -> list[PacketTimes]:
    """With B-frames: each I or P comes before the two displayed before it, decoded `delay` frames early."""
    order = [0, *itertools.chain.from_iterable((last, last - 2, last - 1) for last in range(3, frames, 3))]
    return [
        PacketTimes(start + FRAME * (index - delay), start + FRAME * displayed, FRAME)
        for index, displayed in enumerate(order)
    ]


@given(st.integers(1, 12), st.lists(st.tuples(st.integers(4, 12), st.floats(0, 90_000)), max_size=3))
def test_the_extent_is_that_of_all_parts(first: int, others: list[tuple[int, float]]) -> None:
    parts = packets(3 * first + 1)
    for groups, start in others:
        end = parts[-1].dts_seconds or 0.0
        parts += packets(3 * groups + 1, start if abs(start - end) > 2 * DISCONTINUITY_SECONDS else end + 60)
    extent = measure_packets(parts, Clock(DISCONTINUITY_SECONDS))
    assert extent.num_frames == len(parts)
    assert extent.end_seconds == pytest.approx(len(parts) * FRAME, abs=1e-3)
    assert extent.is_continuous is (not others)


def test_the_extent_where_decoding_times_are_missing() -> None:
    """Matroska has none at first; raw H.264 has no times at all."""
    some = [
        PacketTimes(None if index < 2 else each.dts_seconds, each.pts_seconds, FRAME)
        for index, each in enumerate(packets(13))
    ]
    none = [PacketTimes(None, each.pts_seconds, FRAME) for each in packets(13)]
    for each in (some, none, [PacketTimes(None, None, FRAME)] * 13):
        extent = measure_packets(each, Clock())
        assert extent.end_seconds == pytest.approx(13 * FRAME) and extent.is_continuous
    assert measure_packets([], Clock()) == Extent(0.0, 0)


@given(STAMPS, STAMPS)
def test_an_extent_is_finite(dts: list[float | None], pts: list[float | None]) -> None:
    stamps = [PacketTimes(one, other, FRAME) for one, other in zip(dts, pts, strict=False)]
    assert 0 <= measure_packets(stamps, Clock(DISCONTINUITY_SECONDS)).end_seconds < math.inf

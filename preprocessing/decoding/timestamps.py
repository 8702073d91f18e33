"""A monotonic clock from whatever timestamps the frames of a file carry."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction

from deepfake_triton.contracts import MAX_VIDEO_SECONDS

DISCONTINUITY_SECONDS = 10.0
"""Maximum gap in formats whose clock may start anew (MPEG-TS, MPEG-PS, FLV); a longer one is a discontinuity,
as for FFmpeg's `-dts_delta_threshold`."""
_JITTER_SECONDS = 0.1
"""A timestamp that falls back by more than this is a discontinuity (FFmpeg's threshold, too)."""
_MIN_DURATION_SECONDS = 1e-5
_MAX_DELAY_SECONDS = 2.0
"""Maximum delay from decoding to display of a frame; a larger one is a wrong timestamp."""

_MAX_UNTIMED = 17
"""Maximum number of packets before FFmpeg knows how far a stream reorders its frames."""


class Clock:
    """Display times of frames in display order, strictly increasing and finite.

    A timestamp that falls back, or jumps ahead by more than `longest_gap_seconds`, is a discontinuity
    (concatenated files, a wrapped counter; `discontinuities` counts them): from there on the new timestamps
    continue at the end of the old ones, as in FFmpeg. A shorter gap is a pause and stays. A frame with no
    timestamp, or that of the frame before, follows after the duration of a frame.
    """

    def __init__(self, longest_gap_seconds: float = MAX_VIDEO_SECONDS) -> None:
        self.discontinuities = 0
        self.offset_seconds = 0.0
        self._longest_gap_seconds = longest_gap_seconds
        self._started = self._is_next_file = False
        self._stamp: float | None = None
        self._begin_seconds: float | None = None
        self._duration_seconds = 0.0

    def display_interval(self, stamp_seconds: float | None, duration_seconds: float) -> tuple[float, float]:
        """Return when the display of the next frame begins and ends; its timestamp counts from the start of
        the file."""
        begin, step = self._begin_by_stamp(stamp_seconds)
        if self._begin_seconds is not None and begin <= self._begin_seconds:
            begin = max(self._begin_seconds + step, math.nextafter(self._begin_seconds, math.inf))
        duration = duration_seconds if 0 < duration_seconds < math.inf else _MIN_DURATION_SECONDS
        self._duration_seconds = min(max(duration, _MIN_DURATION_SECONDS), self._longest_gap_seconds)
        self._begin_seconds = begin
        return begin, begin + self._duration_seconds

    def reset_after_seek(self) -> None:
        """Take the next frame for one from elsewhere in the file."""
        self._stamp = self._begin_seconds = None

    def start_next_file(self) -> None:
        """Take the next frame for the first one of another file."""
        self._is_next_file = True

    def _begin_by_stamp(self, stamp: float | None) -> tuple[float, float]:
        """Return when the frame's display begins, and the minimum step from the frame before: half a frame
        where timestamps only jitter, so that the clock catches up with them."""
        before = self._begin_seconds
        if stamp is None:
            return -math.inf if before is not None else 0.0, self._duration_seconds
        is_equal = stamp == self._stamp and not self._is_next_file
        if not self._started:
            if not 0 <= stamp <= self._longest_gap_seconds:
                self.offset_seconds = -stamp
            self._started = True
        elif before is not None and not is_equal and self._is_discontinuity(stamp, before):
            self.offset_seconds = before + self._duration_seconds - stamp
            self.discontinuities += 1
        self._stamp, self._is_next_file = stamp, False
        return round(stamp + self.offset_seconds, 6) + 0.0, self._duration_seconds / (1 if is_equal else 2)

    def _is_discontinuity(self, stamp: float, before: float) -> bool:
        begin = stamp + self.offset_seconds
        fell = self._stamp is not None and stamp < self._stamp - _JITTER_SECONDS
        return (
            self._is_next_file
            or fell
            or begin - before > self._longest_gap_seconds
            or begin > MAX_VIDEO_SECONDS
        )


@dataclass(frozen=True)
class PacketTimes:
    """Decoding time, display time and duration of one packet, in seconds from the start of the file.

    `is_key` where decoding can begin with it, as it does at a discontinuity.
    """

    dts_seconds: float | None
    pts_seconds: float | None
    duration_seconds: float
    is_key: bool = True


@dataclass(frozen=True)
class Extent:
    """Duration of a video stream on its monotonic clock, and its number of frames, None if not counted.

    Only where it `is_continuous`, without timestamp discontinuities, does a seek by time arrive there.
    """

    end_seconds: float
    num_frames: int | None = None
    is_continuous: bool = True


def measure_packets(packets: Iterable[PacketTimes], clock: Clock) -> Extent:
    """Measure the extent of a stream by its packets in decoding order, on a fresh clock.

    The clock follows decoding times, which fall back only at a discontinuity, plus a constant `delay` that
    lets the first one be the display time of the first frame. Those that FFmpeg makes up for Matroska behind
    a discontinuity also fall with B-frames: they are ignored.
    """
    count, end_seconds = 0, 0.0
    expected, delay, last, latest = 0.0, None, -math.inf, -math.inf
    for packet in _fill_first_times(packets):
        pts, stamp = packet.pts_seconds, packet.dts_seconds
        if stamp is not None:
            fall = latest - stamp
            if delay is None:
                delay = (pts - stamp if pts is not None else 0.0) if not count else expected - stamp
            elif packet.is_key and fall > _JITTER_SECONDS and pts is not None:
                delay = pts - stamp
            is_made_up = not packet.is_key and 0 < fall < _MAX_DELAY_SECONDS
            latest = latest if is_made_up else stamp
            stamp = None if is_made_up else stamp + delay
        elif pts is not None and not last - _MAX_DELAY_SECONDS < pts < last:  # not only reordered
            stamp = last = pts
        count += 1
        begin, expected = clock.display_interval(stamp, packet.duration_seconds)
        displayed = begin if pts is None else pts + clock.offset_seconds
        if abs(displayed - begin) > _MAX_DELAY_SECONDS:
            displayed = begin
        end_seconds = max(end_seconds, displayed + expected - begin)
    return Extent(end_seconds, count, is_continuous=not clock.discontinuities)


def _fill_first_times(packets: Iterable[PacketTimes]) -> Iterator[PacketTimes]:
    """Yield the same packets; the first ones of a file, whose decoding times FFmpeg does not know in
    Matroska, with times counted back from the first known one."""
    untimed: list[PacketTimes] = []
    for packet in packets:
        if packet.dts_seconds is None and len(untimed) < _MAX_UNTIMED:
            untimed.append(packet)
            continue
        yield from _count_back(packet.dts_seconds, untimed)
        untimed = []
        yield packet
    yield from untimed


def _count_back(dts_seconds: float | None, untimed: list[PacketTimes]) -> list[PacketTimes]:
    """Fill the decoding times of the packets before `dts_seconds`, if they are consecutive frames."""
    pts = [packet.pts_seconds for packet in untimed if packet.pts_seconds is not None]
    if dts_seconds is None or len(pts) < max(1, len(untimed)):
        return untimed
    if max(pts) - min(pts) > _MAX_DELAY_SECONDS:
        return untimed
    timed = []
    for packet in reversed(untimed):
        dts_seconds -= packet.duration_seconds
        timed.append(replace(packet, dts_seconds=dts_seconds))
    return timed[::-1]


def seconds_from_ticks(ticks: int | None, time_base: Fraction | None) -> float | None:
    """Convert a timestamp in units of `time_base` to seconds; None where one of both is unknown."""
    return None if ticks is None or time_base is None else ticks * time_base.numerator / time_base.denominator

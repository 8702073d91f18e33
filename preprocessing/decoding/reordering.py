"""Restore display order in timestamps that follow decoding order."""

from __future__ import annotations

import bisect
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from deepfake_triton.preprocessing.decoding.timestamps import seconds_from_ticks

MAX_REORDERED = 17
"""Maximum number of frames that are decoded after a frame and displayed before it: 16 B-frames, and one."""

FrameT = TypeVar("FrameT")


@dataclass
class _Pending:
    """A packet that the decoder holds, and how many frames of later packets have come out before its own."""

    key: tuple[int, float]
    overtaken: int = 0


class TimestampReorderer(Generic[FrameT]):
    """Timestamps of decoded frames, reassigned in display order where they follow decoding order.

    AVI, ASF, and other formats with one time a frame stamp packets in decoding order. Such timestamps only
    rise, and those of the frames fall wherever B-frames are displayed before the frames that they were
    decoded after. There the n-th frame displayed gets the n-th timestamp. Where the packets' timestamps fall,
    they are display times, or have a discontinuity: frames keep them.
    """

    def __init__(self) -> None:
        self.is_decoding_order = False
        self._is_decided = False
        self._packets_rise = True
        self._run = 0  # discontinuities in the packets of a file in decoding order
        self.reset()

    def reset(self) -> None:
        """Take the next packet for one from elsewhere in the stream."""
        self._pending: list[_Pending] = []
        self._unassigned: list[tuple[int, float]] = []
        self._held: list[tuple[FrameT, float | None]] = []
        self._last_sent = self._last_displayed = self._last_assigned = (-1, 0.0)

    def add_packet(self, stamp_seconds: float | None) -> None:
        """Record the timestamp of a packet before it is decoded."""
        if stamp_seconds is None:
            return
        if (self._run, stamp_seconds) < self._last_sent:
            self._packets_rise = False
            self._run += self.is_decoding_order
        self._last_sent = key = (self._run, stamp_seconds)
        self._pending.append(_Pending(key))
        bisect.insort(self._unassigned, key)

    def add_frame(
        self, frame: FrameT, stamp_seconds: float | None, *, may_reorder: bool
    ) -> Iterator[tuple[FrameT, float | None]]:
        """Add the next decoded frame; yield those that can be displayed now, with their timestamps.

        The first frames are held back until the order of the timestamps is known; not where the decoder says
        that the stream has no B-frames (`may_reorder`).
        """
        self._held.append((frame, stamp_seconds))
        if not self._is_decided:
            self._is_decided = not (may_reorder and self._packets_rise) or len(self._held) > MAX_REORDERED
            stamps = [stamp for _, stamp in self._held[-2:] if stamp is not None]
            self._is_decided |= stamps != sorted(stamps)
        if self._is_decided:
            yield from self.flush()

    def flush(self) -> Iterator[tuple[FrameT, float | None]]:
        """Yield the frames that are still held back."""
        self._is_decided = True
        if self._packets_rise:
            stamps = [stamp for _, stamp in self._held if stamp is not None]
            self.is_decoding_order |= stamps != sorted(stamps)
        while self._held:
            frame, stamp = self._held.pop(0)
            yield frame, None if stamp is None else self._assign(stamp)

    def _assign(self, stamp: float) -> float | None:
        """Return the display time of the next frame, whose own timestamp is `stamp`."""
        sent = next((packet for packet in self._pending if packet.key[1] == stamp), None)
        if sent is None:  # a second frame of one packet
            return None if self.is_decoding_order else stamp
        if self._packets_rise and sent.key < self._last_displayed:
            self.is_decoding_order = True
        self._last_displayed = sent.key
        assigned = self._unassigned[0] if self.is_decoding_order else sent.key
        self._unassigned.remove(assigned)
        self._remove(sent)
        self._last_assigned = max(assigned, self._last_assigned)
        return self._last_assigned[1] if self.is_decoding_order else stamp

    def _remove(self, displayed: _Pending) -> None:
        """Remove the packet of a displayed frame, and as lost those that too many have overtaken."""
        place = self._pending.index(displayed)
        for packet in self._pending[:place]:
            packet.overtaken += 1
        lost = [packet for packet in self._pending[:place] if packet.overtaken > MAX_REORDERED]
        self._pending = [packet for packet in self._pending if packet is not displayed and packet not in lost]
        for packet in lost:
            self._unassigned.remove(self._unassigned[0] if self.is_decoding_order else packet.key)


def display_delay_seconds(packet: Any) -> float:
    """Return how much later than its decoding a PyAV packet is displayed; 0 where it does not say both."""
    displayed, decoded = (seconds_from_ticks(ticks, packet.time_base) for ticks in (packet.pts, packet.dts))
    return 0.0 if displayed is None or decoded is None else displayed - decoded

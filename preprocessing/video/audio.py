"""Copy the audio of a media file into an MP4 whose frames are encoded anew."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from typing import Any

import av.error

_COPIED = ("aac", "mp3", "mp3float", "ac3", "eac3", "alac", "opus", "libopus", "flac")
"""Decoders of the codecs that players expect in an MP4; other audio is transcoded to AAC."""
_AAC_RATES = (48_000, 44_100, 32_000, 24_000, 22_050, 16_000)
_GAP_SECONDS = 0.05
"""Minimum pause in the decoded audio; less is the rounding of a container's timestamps."""


class AudioTracks:
    """All audio streams of an open `source` container, as streams of an `output` container just opened for an
    MP4. `zero_seconds` is the time of the source that is 0 in the output."""

    def __init__(self, source: Any, output: Any, *, zero_seconds: float) -> None:
        self._tracks = {
            stream.index: _add_track(stream, output)
            for stream in source.streams.audio
            if stream.codec_context is not None and stream.rate and stream.channels
        }
        self._output = output
        self._zero_seconds = zero_seconds
        self._packets = self._read_packets(source) if self._tracks else iter(())
        self._next = next(self._packets, None)
        self.lead_seconds = max(0.0, -self._next[0]) if self._next else 0.0
        """Time by which the audio begins before 0; frames and audio are to be written later by it."""

    def write_until(self, seconds: float) -> None:
        """Write the audio before that time of the output, interleaved with the frames."""
        while self._next is not None and self._next[0] + self.lead_seconds < seconds:
            _, track, packet = self._next
            self._write(track.packets(packet, self.lead_seconds - self._zero_seconds))
            self._next = next(self._packets, None)

    def close(self) -> None:
        """Write the remaining audio."""
        self.write_until(float("inf"))
        for track in self._tracks.values():
            self._write(track.flush())

    def _write(self, packets: list[Any]) -> None:
        for packet in packets:
            with suppress(av.error.InvalidDataError, av.error.ArgumentError):  # damaged: a moment of silence
                self._output.mux(packet)

    def _read_packets(self, source: Any) -> Iterator[tuple[float, _CopiedTrack | _TranscodedTrack, Any]]:
        packets = source.demux(list(source.streams.audio))
        while True:
            try:
                packet = next(packets)
            except (StopIteration, av.error.FFmpegError):  # a damaged end is the end of the audio
                return
            track = self._tracks.get(packet.stream.index)
            if track is None or not packet.size or packet.pts is None or packet.is_corrupt:
                continue
            track.clock.make_monotonic(packet)
            yield float(packet.pts * packet.time_base) - self._zero_seconds, track, packet


class _Clock:
    """Timestamps of one stream: where they do not rise, the next packet follows the last one."""

    def __init__(self) -> None:
        self._offset, self._end, self._last = 0, 0, None

    def make_monotonic(self, packet: Any) -> None:
        """Shift the timestamps of a packet so that they rise."""
        dts = (packet.pts if packet.dts is None else packet.dts) + self._offset
        if self._last is not None and dts <= self._last:
            self._offset += self._end - dts
            dts = self._end
        packet.pts, packet.dts = packet.pts + self._offset, dts
        self._last, self._end = dts, dts + max(packet.duration or 0, 1)


class _CopiedTrack:
    """A stream whose packets are copied."""

    def __init__(self, stream: Any, output: Any) -> None:
        self.clock = _Clock()
        self._stream = output.add_stream_from_template(stream)

    def packets(self, packet: Any, delay_seconds: float) -> list[Any]:
        _delay(packet, delay_seconds)
        packet.stream = self._stream
        return [packet]

    def flush(self) -> list[Any]:
        return []


class _TranscodedTrack:
    """A stream that is decoded, and encoded as AAC."""

    def __init__(self, stream: Any, output: Any) -> None:
        self.clock = _Clock()
        self._decoder = stream.codec_context
        rate = stream.rate if stream.rate in _AAC_RATES else _AAC_RATES[0]
        self._stream = output.add_stream("aac", rate=rate)
        self._stream.layout = "mono" if stream.channels == 1 else "stereo"
        self._end: int | None = None

    def packets(self, packet: Any, delay_seconds: float) -> list[Any]:
        _delay(packet, delay_seconds)
        try:
            frames = self._decoder.decode(packet)
        except av.error.FFmpegError:  # a damaged packet is silence
            return []
        return [encoded for frame in frames for encoded in self._stream.encode(self._place(frame))]

    def _place(self, frame: Any) -> Any:
        """Timestamp a frame in samples: right behind the last one, or after a pause."""
        rate = frame.sample_rate
        begin = round(frame.time * rate) if frame.time is not None else self._end or 0
        if self._end is not None and begin - self._end < _GAP_SECONDS * rate:
            begin = self._end
        frame.pts, frame.time_base = begin, Fraction(1, rate)
        self._end = begin + frame.samples
        return frame

    def flush(self) -> list[Any]:
        return list(self._stream.encode(None))


def _add_track(stream: Any, output: Any) -> _CopiedTrack | _TranscodedTrack:
    kind = _CopiedTrack if stream.codec_context.name in _COPIED else _TranscodedTrack
    return kind(stream, output)


def _delay(packet: Any, delay_seconds: float) -> None:
    ticks = round(delay_seconds / packet.time_base)
    packet.pts += ticks
    packet.dts += ticks

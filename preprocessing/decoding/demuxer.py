"""Read the packets of a file's video stream, through all files that are concatenated in it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import av.error

from deepfake_triton.errors import DeadlineExceeded, InputError
from deepfake_triton.preprocessing.decoding.video_stream import VideoStream


class Demuxer:
    """Packets of a video stream; `stream` is the one that is being read, `faults` what went wrong so far.

    `open_parts` open the streams of files that are concatenated behind the first. `open_tail` opens what the
    file holds from a byte on, if that is more than a remnant. `deadline` is by time.monotonic().
    """

    def __init__(
        self,
        stream: VideoStream,
        deadline: float | None,
        *,
        is_photo: bool = False,
        open_parts: Sequence[Callable[[], VideoStream]] = (),
        open_tail: Callable[[int], VideoStream | None] | None = None,
    ) -> None:
        self.faults: list[str] = []
        self.is_concatenated = bool(open_parts)
        self._deadline, self._is_photo = deadline, is_photo
        self._open_parts, self._open_tail = list(open_parts), open_tail
        self._part_start = self._read_until = 0  # bytes
        self._enter(stream)

    def packets(self) -> Iterator[tuple[VideoStream, Any]]:
        """Yield each packet with its stream, from the current position on.

        None in place of a packet says that the decoder is to be flushed. A photo has one packet, whatever
        images follow it in its file. Raises DeadlineExceeded.
        """
        demuxed = self.stream.container.demux(self.stream.av_stream)
        while True:
            if self._deadline is not None and time.monotonic() > self._deadline:
                raise DeadlineExceeded(
                    f"{self.stream.path}: decoding takes longer than the time for this video"
                )
            try:
                packet = next(demuxed)
            except StopIteration:
                if not self._enter_next_part():
                    return
                demuxed = self.stream.container.demux(self.stream.av_stream)
                continue
            except IndexError:  # PyAV's, at the end of a file in which further streams begin
                yield self.stream, None
                demuxed = iter(())
                continue
            except av.error.FFmpegError as error:
                self.note(f"damaged data ({error.strerror})")
                yield self.stream, None
                demuxed = iter(())  # a concatenated part may be whole
                continue
            start = self._read_until if packet.pos is None else packet.pos  # one of several in a block
            self._read_until = max(self._read_until, start + packet.size)
            yield self.stream, packet
            if self._is_photo:
                yield self.stream, None
                return

    def note(self, fault: str) -> None:
        """Add what is wrong with the file to `faults`, once."""
        if fault not in self.faults:
            self.faults.append(fault)

    def _enter(self, stream: VideoStream) -> None:
        stream.require_limits(None if self.is_concatenated else stream.claimed_end_seconds)
        self.stream = stream

    def _enter_next_part(self) -> bool:
        """Go on in the next concatenated part; return whether there is one that can be read."""
        while self._open_parts:
            finished = self.stream
            try:
                self._enter(self._open_parts.pop(0)())
            except InputError as error:
                self.note(f"a concatenated file cannot be read ({error})")
            else:
                finished.container.close()
                return True
        return self._enter_tail()

    def _enter_tail(self) -> bool:
        """Go on in another stream, as concatenated transport streams number theirs differently."""
        start, self._read_until = self._part_start + self._read_until, 0
        if self._open_tail is None or start <= self._part_start or not self.stream.may_restart_clock:
            return False
        try:
            tail = self._open_tail(start)
        except InputError:  # no video in it
            return False
        if tail is not None:
            self._enter(tail)
            self._part_start, self.is_concatenated = start, True
        return tail is not None

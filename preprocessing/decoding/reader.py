"""Read the video of a media file as decoded frames with display times, noting every fault on the way."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

from deepfake_triton.contracts import MAX_VIDEO_SECONDS
from deepfake_triton.preprocessing.decoding.decoded_frame import DecodedFrame, attach_neighbors
from deepfake_triton.preprocessing.decoding.demuxer import Demuxer
from deepfake_triton.preprocessing.decoding.orientation import Orientation
from deepfake_triton.preprocessing.decoding.reordering import MAX_REORDERED
from deepfake_triton.preprocessing.decoding.stream_decoder import StreamDecoder
from deepfake_triton.preprocessing.decoding.timestamps import (
    DISCONTINUITY_SECONDS,
    Clock,
    Extent,
    PacketTimes,
    measure_packets,
    seconds_from_ticks,
)
from deepfake_triton.preprocessing.decoding.video_stream import VideoStream


class VideoReader:
    """One pass over the frames of a video. `faults` describes what went wrong so far.

    `deadline` is by time.monotonic(). Of a photo only the first image counts. `orientation`, where the file
    gives one, outranks what packets and frames say. `open_parts` and `open_tail` are those of `Demuxer`.
    """

    def __init__(
        self,
        stream: VideoStream,
        deadline: float | None = None,
        *,
        is_photo: bool = False,
        orientation: Orientation | None = None,
        open_parts: Sequence[Callable[[], VideoStream]] = (),
        open_tail: Callable[[int], VideoStream | None] | None = None,
    ) -> None:
        self._demuxer = Demuxer(
            stream, deadline, is_photo=is_photo, open_parts=open_parts, open_tail=open_tail
        )
        self.note, self.faults = self._demuxer.note, self._demuxer.faults
        self._orientation = orientation
        self._decoder = StreamDecoder(stream, orientation, self.note)
        self._first_aspect: Fraction | None = None
        longest_gap_seconds = DISCONTINUITY_SECONDS if stream.may_restart_clock else MAX_VIDEO_SECONDS
        self.clock = Clock(longest_gap_seconds)

    @property
    def path(self) -> Path:
        """The file's name in messages."""
        return self._demuxer.stream.path

    @property
    def container(self) -> Any:
        """The open PyAV container."""
        return self._demuxer.stream.container

    @property
    def start_seconds(self) -> float:
        """The container's time that counts as 0."""
        return self._demuxer.stream.start_seconds

    @property
    def pixel_aspect(self) -> Fraction:
        """Width of a stored pixel over its height."""
        return self._demuxer.stream.pixel_aspect

    @property
    def frame_seconds(self) -> float:
        """Average display time of a frame, as far as the file says."""
        return self._demuxer.stream.frame_seconds

    @property
    def file_seconds(self) -> float:
        """FFmpeg's duration of the file, that of its longest stream, sound included; 0 if unknown."""
        return self._demuxer.stream.file_seconds

    @property
    def claimed_end_seconds(self) -> float | None:
        """When the last frame ends by the header, from the start of the file; None if it does not say."""
        return None if self._demuxer.is_concatenated else self._demuxer.stream.claimed_end_seconds

    @property
    def claimed_extent(self) -> Extent | None:
        """The extent of the video, or of the longest stream of its file, by the header.

        None where it says nothing, or where FFmpeg can only guess: from the last timestamp of a format whose
        clock may start anew, from the first of concatenated files, or from a GIF's first packets.
        """
        stream = self._demuxer.stream
        claimed = self.claimed_end_seconds or stream.file_seconds
        is_guess = (
            stream.may_restart_clock or self._demuxer.is_concatenated or stream.container.format.name == "gif"
        )
        return Extent(claimed) if claimed > 0 and not is_guess else None

    def extent(self) -> Extent:
        """Measure the extent by reading all packets without decoding them.

        The number of frames that a file claims is wrong for fragmented files, edit lists and AVI.
        """
        return measure_packets(self._packet_times(), self.clock)

    def frames(self) -> Iterator[DecodedFrame]:
        """Yield the frames in display order, from the current position on; damaged ones are skipped and
        noted."""
        return attach_neighbors(self._timed_frames())

    def seek(self, seconds: float) -> None:
        """Let `frames`, called anew, continue at the last key frame at or before that time, if the file has
        an index. Raises av.error.FFmpegError."""
        stream = self._demuxer.stream
        if self._decoder.has_decoding_order or stream.container.format.name == "mpeg":
            # What the decoder leaves out, or FFmpeg guesses between rare timestamps, is past by then.
            seconds = max(0.0, seconds - 2 * MAX_REORDERED * stream.frame_seconds)
        ticks = (seconds + stream.start_seconds) / float(stream.av_stream.time_base)
        stream.container.seek(int(ticks), stream=stream.av_stream, backward=True)
        self.clock.reset_after_seek()
        self._decoder.reset()

    def _timed_frames(self) -> Iterator[DecodedFrame]:
        for stream, packet in self._demuxer.packets():
            if stream is not self._decoder.stream:
                self._decoder = StreamDecoder(stream, self._orientation, self.note)
                self.clock.start_next_file()
            for stamped in self._decoder.decode(packet):
                frame = stamped.frame
                duration = seconds_from_ticks(frame.duration or None, frame.time_base) or stream.frame_seconds
                begin, end = self.clock.display_interval(stamped.stamp_seconds, duration)
                if frame.is_corrupt:
                    self.note("damaged frames")
                    continue
                yield DecodedFrame(
                    frame,
                    begin,
                    end,
                    pixel_aspect=self._changed_aspect(stream),
                    top_field_first=self._decoder.top_field_first,
                    orientation=stamped.orientation,
                )

    def _changed_aspect(self, stream: VideoStream) -> Fraction | None:
        """Return the decoder's pixel aspect ratio where it is not the first one, or that of a concatenated
        file. It may be ahead of the frame by as many frames as the decoder has threads."""
        aspect = stream.av_stream.codec_context.sample_aspect_ratio or Fraction(1)
        self._first_aspect = self._first_aspect or aspect
        if aspect != self._first_aspect:
            return aspect
        return stream.pixel_aspect if self._demuxer.is_concatenated else None

    def _packet_times(self) -> Iterator[PacketTimes]:
        frame_seconds, current = self.frame_seconds, self._demuxer.stream
        for stream, packet in self._demuxer.packets():
            if stream is not current:
                current = stream
                self.clock.start_next_file()
            if packet is not None and packet.size and not packet.is_discard:
                yield PacketTimes(
                    stream.since_start(packet.dts, packet.time_base),
                    stream.since_start(packet.pts, packet.time_base),
                    seconds_from_ticks(packet.duration or None, packet.time_base) or frame_seconds,
                    packet.is_keyframe,
                )

"""Decode the packets of one video stream to frames in display order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import av.error

from deepfake_triton.preprocessing.decoding.color import tag_photo_matrix
from deepfake_triton.preprocessing.decoding.deinterlace import stored_field_order
from deepfake_triton.preprocessing.decoding.orientation import Orientation
from deepfake_triton.preprocessing.decoding.reordering import TimestampReorderer, display_delay_seconds
from deepfake_triton.preprocessing.decoding.video_stream import VideoStream
from deepfake_triton.preprocessing.photos.exif import PHOTO_CODECS, photo_orientation

_DECODING_TIMES_ONLY = ("avi", "asf")
"""Formats without display times: FFmpeg guesses how much later than its decoding a frame is displayed."""


@dataclass(frozen=True)
class StampedFrame:
    """A decoded PyAV frame, its timestamp in seconds from the start of the file (None: it has none), and its
    orientation where EXIF data or the file gives one."""

    frame: Any
    stamp_seconds: float | None
    orientation: Orientation | None


class StreamDecoder:
    """Decoder of one stream. `orientation`, where the file gives one, outranks what packets and frames say.

    `note` is called with a description of each fault. `top_field_first` is that of the file, if its frames
    do not say themselves that they are interlaced.
    """

    def __init__(
        self, stream: VideoStream, orientation: Orientation | None, note: Callable[[str], None]
    ) -> None:
        self.stream = stream
        codec = stream.av_stream.codec_context
        self.top_field_first = stored_field_order(codec)
        self._orientation = orientation
        self._has_exif = orientation is None and codec.name in PHOTO_CODECS
        self._exif_orientations: dict[int | None, Orientation] = {}  # by timestamp
        self._note = note
        self._reorderer: TimestampReorderer[tuple[Any, Orientation | None]] = TimestampReorderer()
        self._display_delay_seconds: float | None = None

    @property
    def has_decoding_order(self) -> bool:
        """Whether the timestamps are those of decoding, as far as they have been seen."""
        return self._reorderer.is_decoding_order

    def reset(self) -> None:
        """Forget the packets before a seek."""
        self._reorderer.reset()

    def decode(self, packet: Any) -> Iterator[StampedFrame]:
        """Yield the frames that can be displayed after this packet (None: the last one), in display order."""
        reorderer, is_end = self._reorderer, packet is None or not packet.size
        if not is_end and not packet.is_discard:
            if self._display_delay_seconds is None:
                self._display_delay_seconds = display_delay_seconds(packet)
            reorderer.add_packet(self.stream.since_start(packet.pts, packet.time_base))
        codec, container = self.stream.av_stream.codec_context, self.stream.container
        displayed: list[tuple[tuple[Any, Orientation | None], float | None]] = []
        for frame, orientation in self._decode_packet(packet):
            stamp = self.stream.since_start(frame.pts, frame.time_base)
            displayed += reorderer.add_frame((frame, orientation), stamp, may_reorder=codec.has_b_frames)
        if is_end:
            displayed += reorderer.flush()
        only_decoding = reorderer.is_decoding_order or container.format.name in _DECODING_TIMES_ONLY
        delay = (self._display_delay_seconds or 0.0) if only_decoding else 0.0
        for (frame, orientation), stamp in displayed:
            yield StampedFrame(frame, None if stamp is None else stamp - delay, orientation)

    def _decode_packet(self, packet: Any) -> list[tuple[Any, Orientation | None]]:
        if self._has_exif and packet is not None and packet.size:
            orientation = photo_orientation(memoryview(packet))
            if orientation is not None:
                self._exif_orientations[packet.pts] = orientation
        try:
            frames = list(self.stream.av_stream.decode(packet))
        except av.error.EOFError:
            return []
        except av.error.FFmpegError as error:
            self._note(f"damaged data ({error.strerror})")
            return []
        for frame in frames:
            if self._orientation is not None:
                tag_photo_matrix(frame)
            # PyAV before 19 loses it when flushing
            frame.time_base = frame.time_base or self.stream.av_stream.time_base
        return [
            (frame, self._orientation or self._exif_orientations.pop(frame.pts, None)) for frame in frames
        ]

"""The video stream of an open container, and what its header claims."""

from __future__ import annotations

import re
from fractions import Fraction
from pathlib import Path
from typing import Any

from av.format import Flags

from deepfake_triton.contracts import MAX_STORED_PIXELS, MAX_VIDEO_SECONDS
from deepfake_triton.errors import VideoTooLarge
from deepfake_triton.preprocessing.decoding.timestamps import seconds_from_ticks


class VideoStream:
    """A video stream of an open PyAV container, set up for decoding; `path` names its file in messages."""

    def __init__(self, path: Path, container: Any, stream: Any) -> None:
        self.path = path
        self.container, self.av_stream = container, stream
        self.start_seconds = (container.start_time or 0) / 1_000_000
        stream.thread_type = "AUTO"

    @property
    def pixel_aspect(self) -> Fraction:
        """Width of a stored pixel over its height."""
        return self.av_stream.sample_aspect_ratio or Fraction(1)

    @property
    def frame_seconds(self) -> float:
        """Average display time of a frame, as far as the file says."""
        return float(1 / (self.av_stream.average_rate or Fraction(25)))

    @property
    def file_seconds(self) -> float:
        """FFmpeg's duration of the file, that of its longest stream, sound included; 0 if unknown."""
        return max(0.0, (self.container.duration or 0) / 1_000_000)

    @property
    def may_restart_clock(self) -> bool:
        """Whether the container format allows timestamps to start anew."""
        name, flags = self.container.format.name, self.container.format.flags
        return bool(flags & Flags.ts_discont.value) or name == "flv"

    @property
    def claimed_end_seconds(self) -> float | None:
        """When the last frame ends by the header, from the start of the file; None if it does not say."""
        if self.may_restart_clock:
            return None
        delay = self.since_start(self.av_stream.start_time, self.av_stream.time_base) or 0.0
        if self.av_stream.duration:
            return delay + (seconds_from_ticks(self.av_stream.duration, self.av_stream.time_base) or 0.0)
        tags = self.av_stream.metadata  # Matroska's
        tag = re.fullmatch(r"(\d+):(\d+):(\d+(?:\.\d+)?)", tags.get("DURATION", ""))
        if not tag:
            return None
        length = int(tag[1]) * 3600 + int(tag[2]) * 60 + float(tag[3])
        # mkvmerge writes how long the track is, and FFmpeg when it ends
        return length + (delay if "_STATISTICS_TAGS" in tags else -self.start_seconds)

    def since_start(self, ticks: int | None, time_base: Fraction | None) -> float | None:
        """Convert a timestamp to seconds from the start of the file."""
        seconds = seconds_from_ticks(ticks, time_base)
        return None if seconds is None else seconds - self.start_seconds

    def require_limits(self, claimed_end_seconds: float | None) -> None:
        """Check the claims of the header before anything is decoded, and make the decoder enforce them.

        Raises VideoTooLarge.
        """
        codec = self.av_stream.codec_context
        if codec.width * codec.height > MAX_STORED_PIXELS:
            raise VideoTooLarge(
                f"{self.path}: frames of {codec.width} × {codec.height} px, at most {MAX_STORED_PIXELS:,} px"
            )
        codec.options = {**codec.options, "max_pixels": str(MAX_STORED_PIXELS)}
        claimed = claimed_end_seconds or 0.0
        if claimed > MAX_VIDEO_SECONDS:
            raise VideoTooLarge(
                f"{self.path}: claims to last {claimed / 3600:.1f} h, at most {MAX_VIDEO_SECONDS / 3600:g} h"
            )

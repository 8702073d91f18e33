"""A media file as a stream of decoded frames, with a note of everything that was wrong on the way."""

from __future__ import annotations

import io
import os
import re
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO

import av
import av.error
from av.stream import Disposition

from deepfake_triton.contracts import MAX_FILE_BYTES, MAX_STORED_PIXELS, MAX_VIDEO_SECONDS
from deepfake_triton.errors import (
    DeadlineExceeded,
    NotAVideo,
    NoVideoStream,
    VideoNotFound,
    VideoTooLarge,
    VideoUndecodable,
    VideoUnreadable,
)
from deepfake_triton.preprocessing.containers import is_iso_media, missing_tail_bytes, still_format

# Media files only: FFmpeg would also open playlists, which name further files, and draw text files.
CONTAINER_FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,m4v,h264,hevc,av1,obu,ivf,flv,asf,"
    "ogg,mxf,nut,dv,rm,wtv,yuv4mpegpipe,mjpeg,gif,apng,mp3,aac,wav,flac,"
    "jpeg_pipe,png_pipe,bmp_pipe,webp_pipe,tiff_pipe"
)


class MediaFile:
    """A file that may be read several times; `missing_bytes` of its end are gone. `path` names it."""

    def __init__(self, path: Path, file: BinaryIO, size: int) -> None:
        self.path = path
        self.file = file
        self.missing_bytes = missing_tail_bytes(file, size)

    @contextmanager
    def reader(self, deadline: float | None = None) -> Iterator[VideoReader]:
        """A pass over the video from its start; `deadline` is by time.monotonic()."""
        self.file.seek(0)
        try:
            container = av.open(
                self.file,
                format=still_format(self.file),
                options={"format_whitelist": CONTAINER_FORMATS, "max_pixels": str(MAX_STORED_PIXELS)},
                metadata_errors="replace",
            )
        except av.error.FFmpegError as error:
            raise self._unopenable(error) from error
        with container:
            yield VideoReader(self.path, container, deadline)

    def _unopenable(self, error: av.error.FFmpegError) -> Exception:
        if is_iso_media(self.file):
            cut = f", {self.missing_bytes} bytes are missing at its end" if self.missing_bytes else ""
            return VideoUndecodable(
                f"{self.path}: an MP4 without a readable index (moov){cut}; copy the file again"
            )
        return NotAVideo(f"{self.path}: not a video: {error.strerror}")


@contextmanager
def opened(video: str | Path | BinaryIO) -> Iterator[MediaFile]:
    """Open a file for reading, or take one that is open; failures of the disk meanwhile are VideoUnreadable.

    Raises VideoNotFound, VideoUnreadable, or NotAVideo for an empty file.
    """
    path = Path(video if isinstance(video, str | Path) else str(getattr(video, "name", "") or "(stream)"))
    try:
        with _binary(video, path) as file:
            size = file.seek(0, os.SEEK_END)
            if size == 0:
                raise NotAVideo(f"{path}: the file is empty; expected a video")
            if size > MAX_FILE_BYTES:
                raise VideoTooLarge(f"{path}: {size / 2**30:.1f} GiB, at most {MAX_FILE_BYTES >> 30} GiB")
            yield MediaFile(path, file, size)
    except FileNotFoundError as error:
        raise VideoNotFound(f"{path}: no such file") from error
    except OSError as error:
        raise VideoUnreadable(f"{path}: cannot be read: {error.strerror or error}") from error


@contextmanager
def _binary(video: str | Path | BinaryIO, path: Path) -> Iterator[BinaryIO]:
    """What is opened here is closed here."""
    if not isinstance(video, str | Path):
        if not (hasattr(video, "seekable") and video.seekable()):
            raise VideoUnreadable(f"{path}: expected a file object that can seek")
        if isinstance(video, io.TextIOBase):
            raise VideoUnreadable(f"{path}: is open for text; open it with mode 'rb'")
        yield video
        return
    if "\0" in str(path):
        raise VideoNotFound(f"{path!r}: no file can have this name")
    if not stat.S_ISREG(path.stat().st_mode):
        kind = "directory" if path.is_dir() else "pipe or device"
        raise VideoUnreadable(f"{path}: is a {kind}; expected a video file")
    with path.open("rb") as file:
        yield file


class VideoReader:
    """One pass over the frames of a container's video stream. `faults` says what went wrong so far."""

    def __init__(self, path: Path, container: Any, deadline: float | None) -> None:
        streams = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
        if not streams:
            raise NoVideoStream(f"{path}: holds no video stream ({container.format.long_name})")
        self.path = path
        self.container = container
        self.stream = streams[0]
        self.stream.thread_type = "AUTO"
        self.faults: list[str] = []
        self.deadline = deadline
        self._require_limits()
        self.start_seconds = (container.start_time or 0) / 1_000_000

    def _require_limits(self) -> None:
        """Before anything is decoded, by what the file claims; the decoder itself holds the claim to it."""
        codec = self.stream.codec_context
        if codec.width * codec.height > MAX_STORED_PIXELS:
            raise VideoTooLarge(
                f"{self.path}: frames of {codec.width} × {codec.height} px, at most {MAX_STORED_PIXELS:,} px"
            )
        codec.options = {**codec.options, "max_pixels": str(MAX_STORED_PIXELS)}
        claimed = self.claimed_seconds or 0.0
        if claimed > MAX_VIDEO_SECONDS:
            raise VideoTooLarge(
                f"{self.path}: claims to last {claimed / 3600:.1f} h, at most {MAX_VIDEO_SECONDS / 3600:g} h"
            )

    @property
    def pixel_aspect(self) -> Fraction:
        """Width over height of a stored pixel."""
        return self.stream.sample_aspect_ratio or Fraction(1)

    @property
    def frame_seconds(self) -> float:
        """How long a frame is shown on average, as far as the file says."""
        return float(1 / (self.stream.average_rate or Fraction(25)))

    @property
    def claimed_seconds(self) -> float | None:
        """How long the file says that its video stream is, if it does."""
        if self.stream.duration:
            return float(self.stream.duration * self.stream.time_base)
        tag = re.fullmatch(
            r"(\d+):(\d+):(\d+(?:\.\d+)?)", self.stream.metadata.get("DURATION", "")
        )  # Matroska's
        return int(tag[1]) * 3600 + int(tag[2]) * 60 + float(tag[3]) if tag else None

    @property
    def file_seconds(self) -> float | None:
        """How long the file says that it is: the longest of its streams, sound included."""
        return self.container.duration / 1_000_000 if self.container.duration else None

    def frame_count_and_end(self) -> tuple[int, float]:
        """Read through the file without decoding: its number of frames, and when the last one goes.

        What a file claims of its number of frames is wrong for fragmented files, edit lists and AVI.
        """
        count, end_seconds = 0, 0.0
        for packet in self._packets():
            if packet is not None and packet.size and not packet.is_discard:
                count += 1
                if packet.pts is not None:
                    end = float((packet.pts + (packet.duration or 0)) * packet.time_base) - self.start_seconds
                    end_seconds = max(end_seconds, end)
        return count, end_seconds

    def frames(self) -> Iterator[Any]:
        """Decoded frames in the order in which they are shown; damaged ones are left out and noted."""
        for packet in self._packets():
            for frame in self._decoded(packet):
                if frame.is_corrupt:
                    self.note("damaged frames")
                else:
                    yield frame

    def shown(self, frame: Any, after: float | None) -> tuple[float, float]:
        """When a frame appears and when it goes, in seconds from the start of the file.

        A frame without a time follows the one that appeared at `after`.
        """
        length = self.frame_seconds
        if frame.duration and frame.time_base:
            length = float(frame.duration * frame.time_base)
        if frame.pts is None:
            start = 0.0 if after is None else after + length
        else:
            start = round(float(frame.pts * frame.time_base) - self.start_seconds, 6) + 0.0  # no -0.0
        return start, start + length

    def seek(self, seconds: float) -> None:
        """Let `frames`, called anew, go on from the last key frame at or before that time, if the file says
        where it is. Raises av.error.FFmpegError."""
        ticks = (seconds + self.start_seconds) / float(self.stream.time_base)
        self.container.seek(int(ticks), stream=self.stream, backward=True)

    def note(self, fault: str) -> None:
        """Remember what is wrong with the file, once."""
        if fault not in self.faults:
            self.faults.append(fault)

    def _packets(self) -> Iterator[Any]:
        packets = self.container.demux(self.stream)
        while True:
            if self.deadline is not None and time.monotonic() > self.deadline:
                raise DeadlineExceeded(f"{self.path}: decoding takes longer than the time for this video")
            try:
                yield next(packets)
            except StopIteration:
                return
            except av.error.FFmpegError as error:
                self.note(f"damaged data ({error.strerror})")
                yield None  # what the decoder still holds
                return

    def _decoded(self, packet: Any) -> list[Any]:
        try:
            return list(self.stream.decode(packet))
        except av.error.EOFError:
            return []
        except av.error.FFmpegError as error:
            self.note(f"damaged data ({error.strerror})")
            return []

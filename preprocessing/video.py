"""Video files to frames: PyAV's decoder, upright, in RGB, at most 640 px on the long side."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO

import av
import av.error
import numpy as np
import numpy.typing as npt
from av.stream import Disposition

from deepfake_triton.contracts import MAX_FRAME_SIDE
from deepfake_triton.errors import (
    InvalidFrames,
    NotAVideo,
    NoVideoStream,
    VideoNotFound,
    VideoUndecodable,
    VideoUnreadable,
)
from deepfake_triton.preprocessing.containers import is_iso_media, missing_tail_bytes
from deepfake_triton.preprocessing.orientation import Orientation, orientation_of
from deepfake_triton.preprocessing.sampling import FrameSelection, Sampling, uniform_indices

# Media files only: FFmpeg would also open playlists, which name further files, and draw text files.
CONTAINER_FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,m4v,h264,hevc,av1,obu,ivf,flv,asf,"
    "ogg,mxf,nut,dv,rm,wtv,yuv4mpegpipe,mjpeg,gif,apng,mp3,aac,wav,flac,"
    "jpeg_pipe,png_pipe,bmp_pipe,webp_pipe,tiff_pipe"
)

EARLY_END_SECONDS = 1.0
"""A video whose frames run out this long before the end that it claims was cut."""


@dataclass(frozen=True)
class FrameBatch:
    """Frames of one clip: `data` [T, H, W, 3] uint8 RGB, and for each its time on the video's clock.

    `pts_seconds` [T] float64 rises; `end_seconds` is when the last frame stops being shown.
    Raises InvalidFrames when the shapes do not belong together.
    """

    data: npt.NDArray[np.uint8]
    pts_seconds: npt.NDArray[np.float64]
    end_seconds: float

    def __post_init__(self) -> None:
        fits = self.data.ndim == 4 and self.data.shape[3:] == (3,) and self.data.dtype == np.uint8
        if not fits or 0 in self.data.shape or self.pts_seconds.shape != self.data.shape[:1]:
            raise InvalidFrames(
                f"frames: got {self.data.dtype} {list(self.data.shape)} with pts_seconds "
                f"{list(self.pts_seconds.shape)}, expected uint8 [T, H, W, 3] with [T]"
            )

    def __len__(self) -> int:
        return len(self.data)


@dataclass(frozen=True)
class DecodedClip:
    """The chosen frames of a video; `duration_seconds` is the whole video's.

    `fault` says in words what was wrong with the file where only a part of it could be used, else None.
    """

    frames: FrameBatch
    duration_seconds: float
    fault: str | None


def decode_clip(path: str | Path, selection: FrameSelection = FrameSelection()) -> DecodedClip:  # noqa: B008
    """Decode the chosen frames of the video at `path`.

    Memory holds the chosen frames and one more, however long the video is. A damaged or cut video gives
    the frames that decode, with `fault` set. Raises VideoNotFound, VideoUnreadable, NotAVideo,
    NoVideoStream, or VideoUndecodable when not one frame decodes.
    """
    path = Path(path)
    with _opened(path) as file:
        missing = missing_tail_bytes(file, os.fstat(file.fileno()).st_size)
        with _container(path, file, missing) as container:
            wanted = _wanted_frames(_Reader(path, container), selection, cut=missing > 0)
        with _container(path, file, missing) as container:
            return _decoded(path, _Reader(path, container), wanted, missing)


def _opened(path: Path) -> BinaryIO:
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            kind = "directory" if path.is_dir() else "pipe or device"
            raise VideoUnreadable(f"{path}: is a {kind}; expected a video file")
        file = path.open("rb")
        size = os.fstat(file.fileno()).st_size
    except FileNotFoundError as error:
        raise VideoNotFound(f"{path}: no such file") from error
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise VideoUnreadable(f"{path}: cannot be read: {reason}") from error
    if size == 0:
        file.close()
        raise NotAVideo(f"{path}: the file is empty; expected a video")
    return file


def _container(path: Path, file: BinaryIO, missing: int) -> Any:
    file.seek(0)
    try:
        return av.open(file, options={"format_whitelist": CONTAINER_FORMATS})
    except (av.error.FFmpegError, UnicodeDecodeError) as error:
        raise _unopenable(path, file, missing, error) from error


def _unopenable(path: Path, file: BinaryIO, missing: int, error: Exception) -> Exception:
    if is_iso_media(file):
        cut = f", {missing} bytes are missing at its end" if missing else ""
        return VideoUndecodable(f"{path}: an MP4 without a readable index (moov){cut}; copy the file again")
    return NotAVideo(f"{path}: not a video: {_reason(error)}")


def _reason(error: Exception) -> str:
    return str(error.strerror if isinstance(error, av.error.FFmpegError) else error)


class _Reader:
    """One pass over the frames of a container's video stream; remembers what went wrong on the way."""

    def __init__(self, path: Path, container: Any) -> None:
        streams = [s for s in container.streams.video if not _is_cover_picture(s)]
        if not streams:
            raise NoVideoStream(f"{path}: holds no video stream ({container.format.long_name})")
        self.container = container
        self.stream = streams[0]
        self.stream.thread_type = "AUTO"
        self.faults: list[str] = []
        self.start_seconds = (container.start_time or 0) / 1_000_000

    @property
    def duration_seconds(self) -> float | None:
        """What the file says of its length, if it does."""
        if self.stream.duration:
            return float(self.stream.duration * self.stream.time_base)
        return self.container.duration / 1_000_000 if self.container.duration else None

    def frame_count(self, cut: bool) -> int:
        """How many frames the video has: from an MP4's index unless it was `cut`, else by reading through.

        What other formats claim is often another figure, such as ticks of a clock.
        """
        indexed = "mp4" in self.container.format.name and self.stream.frames > 0
        if indexed and not cut:
            return int(self.stream.frames)
        packets = (packet for packet in self._packets() if packet is not None)
        return sum(packet.size > 0 and not packet.is_discard for packet in packets)

    def frames(self) -> Iterator[Any]:
        for packet in self._packets():
            for frame in self._decoded(packet):
                if frame.is_corrupt:
                    self._note("damaged frames")
                else:
                    yield frame

    def _packets(self) -> Iterator[Any]:
        packets = self.container.demux(self.stream)
        while True:
            try:
                yield next(packets)
            except StopIteration:
                return
            except av.error.FFmpegError as error:
                self._note(f"damaged data ({_reason(error)})")
                yield None  # what the decoder still holds
                return

    def _decoded(self, packet: Any) -> list[Any]:
        try:
            return list(self.stream.decode(packet))
        except av.error.EOFError:
            return []
        except av.error.FFmpegError as error:
            self._note(f"damaged data ({_reason(error)})")
            return []

    def _note(self, fault: str) -> None:
        if fault not in self.faults:
            self.faults.append(fault)


def _is_cover_picture(stream: Any) -> bool:
    return bool(stream.disposition & Disposition.attached_pic)


def _wanted_frames(reader: _Reader, selection: FrameSelection, cut: bool) -> frozenset[int]:
    if selection.sampling is Sampling.UNIFORM:
        return frozenset(uniform_indices(reader.frame_count(cut), selection.num_frames))
    return frozenset(range(selection.num_frames))


def _decoded(path: Path, reader: _Reader, wanted: frozenset[int], missing: int) -> DecodedClip:
    pictures: list[npt.NDArray[np.uint8]] = []
    times: list[float] = []
    end_seconds = 0.0
    index = -1
    scaler = _Scaler(reader.stream.sample_aspect_ratio or Fraction(1))
    for index, frame in enumerate(reader.frames()):
        if index in wanted:
            start, end_seconds = _shown(frame, reader, times)
            pictures.append(scaler.picture(frame))
            times.append(start)
            if len(pictures) == len(wanted):
                break
    claimed_seconds = reader.duration_seconds or end_seconds
    faults = [f"{missing} bytes are missing at its end"] if missing else list(reader.faults)
    expects_end = len(pictures) < len(wanted) or max(wanted, default=0) >= len(wanted)
    slack_seconds = EARLY_END_SECONDS + claimed_seconds / max(1, len(wanted))
    if not faults and expects_end and claimed_seconds > end_seconds + slack_seconds:
        faults = [f"it ends after {end_seconds:.1f} s of {claimed_seconds:.1f} s"]
    if not pictures:
        detail = "; ".join(faults) or "it holds no frame"
        raise VideoUndecodable(f"{path}: not one of {index + 1} frames can be used: {detail}")
    batch = FrameBatch(np.stack(pictures), np.asarray(times), end_seconds)
    return DecodedClip(batch, max(claimed_seconds, end_seconds), "; ".join(faults) or None)


def _shown(frame: Any, reader: _Reader, earlier: list[float]) -> tuple[float, float]:
    """When the frame appears and when it goes, in seconds from the start of the video."""
    length = float(1 / (reader.stream.average_rate or Fraction(25)))
    if frame.duration and frame.time_base:
        length = float(frame.duration * frame.time_base)
    if frame.pts is None:
        start = earlier[-1] + length if earlier else 0.0
    else:
        start = round(float(frame.pts * frame.time_base) - reader.start_seconds, 6) + 0.0  # no -0.0
    return start, start + length


class _Scaler:
    """Frames to upright RGB pictures of one size, which the first frame decides."""

    def __init__(self, pixel_aspect: Fraction) -> None:
        self.pixel_aspect = pixel_aspect
        self.size: tuple[int, int] | None = None
        self.orientation = Orientation()

    def picture(self, frame: Any) -> npt.NDArray[np.uint8]:
        if self.size is None:
            self.orientation = orientation_of(frame)
            self.size = _sent_size(frame.width, frame.height, self.pixel_aspect)
        width, height = self.size
        shrinks = width < frame.width or height < frame.height
        scaled = frame.reformat(width, height, "rgb24", interpolation="AREA" if shrinks else "BICUBIC")
        return self.orientation.upright(scaled.to_ndarray())


def _sent_size(stored_width: int, stored_height: int, pixel_aspect: Fraction) -> tuple[int, int]:
    """(width, height) before turning: square pixels, long side at most 640, never enlarged beyond that."""
    one = Fraction(1)
    width, height = stored_width * max(pixel_aspect, one), stored_height * max(1 / pixel_aspect, one)
    scale = min(one, Fraction(MAX_FRAME_SIDE) / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))

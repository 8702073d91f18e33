"""Open a media file, recognize what it is, and select its video stream, before anything is decoded."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import av
import av.error

from deepfake_triton.contracts import MAX_FILE_BYTES, MAX_STORED_PIXELS
from deepfake_triton.errors import (
    NotAVideo,
    VideoNotFound,
    VideoTooLarge,
    VideoUndecodable,
    VideoUnreadable,
)
from deepfake_triton.preprocessing.decoding.reader import VideoReader
from deepfake_triton.preprocessing.decoding.video_stream import VideoStream
from deepfake_triton.preprocessing.media.concatenated_files import independent_view, split_parts, tail_from
from deepfake_triton.preprocessing.media.container_probe import (
    image_format,
    is_iso_media,
    missing_tail_bytes,
)
from deepfake_triton.preprocessing.media.file_kinds import describe_kind
from deepfake_triton.preprocessing.media.file_objects import adapt_file, display_name
from deepfake_triton.preprocessing.media.folders import require_local_path
from deepfake_triton.preprocessing.media.iso_boxes import VideoTrack, video_tracks
from deepfake_triton.preprocessing.media.streams import (
    count_packets,
    needs_packet_counts,
    require_decodable,
    select_stream,
    video_streams,
)
from deepfake_triton.preprocessing.photos.heif import (
    CODED_ITEMS,
    read_orientation_of_item,
    read_primary_image,
)
from deepfake_triton.preprocessing.photos.heif_grid import stitch_tiles
from deepfake_triton.preprocessing.photos.photo_formats import is_jpeg_stream, is_jpeg_tiff

# Media files only: FFmpeg would also open playlists, which name further files, and render text files.
CONTAINER_FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,m4v,h264,hevc,av1,obu,ivf,flv,asf,"
    "ogg,mxf,nut,dv,rm,wtv,yuv4mpegpipe,mjpeg,gif,apng,mp3,aac,wav,flac,"
    "jpeg_pipe,png_pipe,bmp_pipe,webp_pipe,webp_anim,tiff_pipe"
)


# PyAV 19 reads all metadata, in any encoding, and has no such option.
_METADATA: dict[str, Any] = {"metadata_errors": "replace"} if int(av.__version__.split(".")[0]) < 19 else {}


class MediaFile:
    """A media file that can be read several times; `path` names it in messages.

    `missing_bytes` is the number of bytes that are missing at its end.
    """

    def __init__(self, path: Path, file: BinaryIO, size: int) -> None:
        self.path = path
        self.file, *self._further_files = split_parts(file, size)
        self.missing_bytes = missing_tail_bytes(file, size)
        self._format = image_format(file)
        if self._format == "tiff_pipe" and is_jpeg_tiff(file):
            raise VideoUndecodable(f"{path}: a TIFF with JPEG compression; convert it to JPEG or PNG")
        self._is_photo = (self._format or "").endswith("_pipe") and not (
            self._format == "jpeg_pipe" and is_jpeg_stream(file)
        )
        self._tracks = video_tracks(file, size) if is_iso_media(file) else []
        image = read_primary_image(path, file, size) if is_iso_media(file) and not self._tracks else None
        self._orientation = None if image is None else read_orientation_of_item(file, image.item)
        if image is not None and image.item.kind == "grid":
            self.file = stitch_tiles(path, file, image)
        elif image is not None and image.item.kind not in CODED_ITEMS:
            raise VideoUndecodable(
                f"{path}: a HEIC or AVIF image of kind {image.item.kind!r}; convert it to JPEG"
            )
        self._stream_index: int | None = None

    @contextmanager
    def reader(self, deadline: float | None = None) -> Iterator[VideoReader]:
        """Open a pass over the video from its start; `deadline` is by time.monotonic().

        A photo is one frame, whatever images follow it in its file.
        """
        with ExitStack() as stack:
            if self._stream_index is None:
                stream = self._open_video(stack, self.file, self._tracks)
                self._stream_index = stream.av_stream.index
            else:
                container = stack.enter_context(self._open_container(self.file))
                stream = VideoStream(self.path, container, container.streams[self._stream_index])
            yield VideoReader(
                stream,
                deadline,
                is_photo=self._is_photo,
                orientation=self._orientation,
                open_parts=[partial(self._open_part, stack, file) for file in self._further_files],
                open_tail=partial(self._open_tail, stack),
            )

    def _open_part(self, stack: ExitStack, file: BinaryIO) -> VideoStream:
        """Open the video of a concatenated file for as long as the stack is open."""
        tracks = video_tracks(file, file.seek(0, os.SEEK_END)) if is_iso_media(file) else []
        return self._open_video(stack, file, tracks)

    def _open_tail(self, stack: ExitStack, start: int) -> VideoStream | None:
        """Open the video that the file holds from the offset `start` on; None if that is only a remnant."""
        tail = tail_from(self.file, start)
        return None if tail is None else self._open_video(stack, tail, [])

    def _open_video(self, stack: ExitStack, file: BinaryIO, tracks: list[VideoTrack]) -> VideoStream:
        """Open a container at its start for as long as the stack is open, and select its video stream."""
        container = stack.enter_context(self._open_container(file))
        if not container.streams and is_iso_media(file):  # truncated before anything but its brand
            raise self._missing_index()
        streams = video_streams(self.path, container)
        needs_counts = needs_packet_counts(streams)
        counts = count_packets(container, streams) if needs_counts else {}
        index = select_stream(streams, counts, tracks).index
        if container.streams[index].codec_context is None and self.missing_bytes and not tracks:
            raise self._missing_index()  # truncated inside of it
        require_decodable(self.path, container, container.streams[index], file=file, tracks=tracks)
        if needs_counts:
            container.close()
            container = stack.enter_context(self._open_container(file))
        return VideoStream(self.path, container, container.streams[index])

    def _open_container(self, file: BinaryIO) -> Any:
        """Open a container at the start of the file."""
        if self._format == "webp_anim" and self._format not in av.formats_available:
            raise VideoUndecodable(
                f"{self.path}: an animated WebP, which only PyAV 19 and newer decode, not {av.__version__}; "
                "convert it to MP4 or GIF"
            )
        try:
            return av.open(
                independent_view(file),
                mode="r",  # by default, it goes by the file's own mode
                format=self._format,
                options={"format_whitelist": CONTAINER_FORMATS, "max_pixels": str(MAX_STORED_PIXELS)},
                **_METADATA,
            )
        except av.error.FFmpegError as error:
            raise self._not_openable(error) from error

    def _not_openable(self, error: av.error.FFmpegError) -> Exception:
        if is_iso_media(self.file):
            return self._missing_index()
        kind = describe_kind(self.file)
        return NotAVideo(f"{self.path}: not a video{f', but {kind}' if kind else ''}: {error.strerror}")

    def _missing_index(self) -> VideoUndecodable:
        missing = f", {self.missing_bytes} bytes are missing at its end" if self.missing_bytes else ""
        return VideoUndecodable(
            f"{self.path}: an MP4 without a readable index (moov){missing}; copy the file again"
        )


@contextmanager
def open_media(video: str | Path | BinaryIO) -> Iterator[MediaFile]:
    """Open a video or photo by its path, or take one that is open.

    A caller's file is read from its start, left open, and its position is restored. Raises VideoNotFound,
    VideoUnreadable, also for errors of the disk meanwhile, or NotAVideo for an empty file.
    """
    path = Path(video) if isinstance(video, str | Path) else display_name(video)
    if isinstance(video, str):
        if not video:
            raise VideoNotFound("the name of the video is empty; expected the path of a file")
        require_local_path(video)
    try:
        with _open_path(path) if isinstance(video, str | Path) else adapt_file(video, path) as (file, size):
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
def _open_path(path: Path) -> Iterator[tuple[BinaryIO, int]]:
    """Open a regular file; yield it with its size."""
    if "\0" in str(path):
        name = str(path).replace("\0", "\\0")
        raise VideoNotFound(f"{name}: no file can have this name: it holds a NUL character")
    if not stat.S_ISREG(path.stat().st_mode):
        kind = "directory" if path.is_dir() else "pipe or device"
        raise VideoUnreadable(f"{path}: is a {kind}; expected a video file")
    with path.open("rb") as file:
        yield file, file.seek(0, os.SEEK_END)

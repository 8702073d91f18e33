"""Write a small copy of a video that every browser plays, on the clock of its verdict."""

from __future__ import annotations

import os
from collections.abc import Iterator
from fractions import Fraction
from typing import Any, BinaryIO

import av
import av.error
import numpy as np

from deepfake_triton.arrays import Image
from deepfake_triton.preprocessing.decoding.letterbox import letterbox_image
from deepfake_triton.preprocessing.decoding.reader import VideoReader
from deepfake_triton.preprocessing.decoding.scaling import Scaler
from deepfake_triton.preprocessing.media.media_file import open_media

MAX_HEIGHT_PX, MAX_WIDTH_PX = 480, 854
_MIN_STEP_SECONDS = 1 / 31
"""Frames that follow closer are left out."""
_STILL_SECONDS, _STILL_STEP_SECONDS = 2.0, 0.5
_TIME_BASE = Fraction(1, 90_000)
_OPTIONS = {"crf": "28", "preset": "veryfast", "bf": "0", "maxrate": "1500k", "bufsize": "3000k"}
_INDEX_BYTES, _INDEX_BYTES_PER_FRAME = 2048, 40
"""Room for the index at the start of the file, so that a browser plays it before it has all of it."""


def write_preview(file: BinaryIO, output: BinaryIO, *, max_seconds: float) -> bool:
    """Write an MP4 of H.264 in 4:2:0 without sound, upright and with square pixels; return whether there was
    a frame.

    Its time 0 is that of the verdict's times. A photo becomes a clip of two seconds. Raises InputError.
    """
    with open_media(file) as media, media.reader() as reader:
        frames = _timed_images(reader, max_seconds)
        first = next(frames, None)
        if first is None:
            return False
        height, width = _even_size(first[1])
        with av.open(output, "w", format="mp4") as container:
            stream: Any = container.add_stream("libx264", rate=30, options=_OPTIONS)
            stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
            stream.codec_context.time_base = _TIME_BASE
            packets = []  # before anything is written, to know the size of the index
            for seconds, image in _filled(first, frames):
                packets += stream.encode(_video_frame(seconds, letterbox_image(image, width, height)))
            packets += stream.encode(None)
            index_bytes = _INDEX_BYTES + _INDEX_BYTES_PER_FRAME * len(packets)
            container.container_options["moov_size"] = str(index_bytes)
            container.mux(packets)
    output.flush()
    os.lseek(output.fileno(), 0, os.SEEK_SET)
    return True


def _timed_images(reader: VideoReader, max_seconds: float) -> Iterator[tuple[float, Image]]:
    """Yield display time and picture of the frames before `max_seconds`, about 30 a second at most."""
    scaler, last = Scaler(reader.pixel_aspect, MAX_WIDTH_PX), -1.0
    for decoded in reader.frames():
        if decoded.begin_seconds >= max_seconds:
            return
        if decoded.begin_seconds - last < _MIN_STEP_SECONDS:
            continue
        try:
            image = scaler.to_rgb(decoded)
        except (av.error.FFmpegError, ValueError):  # that frame has no conversion
            continue
        last = decoded.begin_seconds
        yield last, image


def _filled(
    first: tuple[float, Image], frames: Iterator[tuple[float, Image]]
) -> Iterator[tuple[float, Image]]:
    """Yield the frames from time 0 on; a single one is shown for two seconds."""
    if first[0] > 0:
        yield 0.0, first[1]
    yield first
    last = first[0]
    for last, image in frames:
        yield last, image
    if last == first[0]:
        for index in range(1, int(_STILL_SECONDS / _STILL_STEP_SECONDS)):
            yield last + index * _STILL_STEP_SECONDS, first[1]


def _even_size(image: Image) -> tuple[int, int]:
    """Return height and width, even, of the preview of a picture."""
    height, width = image.shape[:2]
    scale = min(1.0, MAX_HEIGHT_PX / height, MAX_WIDTH_PX / width)
    return max(2, round(height * scale / 2) * 2), max(2, round(width * scale / 2) * 2)


def _video_frame(seconds: float, image: Image) -> Any:
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
    frame.pts, frame.time_base = round(seconds / _TIME_BASE), _TIME_BASE
    return frame

"""Video files in and out, at their own size: for forging, degrading and overlays."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt

from deepfake_triton.errors import InputError
from deepfake_triton.preprocessing.pictures import Scaler
from deepfake_triton.preprocessing.reader import opened

Picture = npt.NDArray[np.uint8]

LARGEST_SIDE_PX = 1920
_CLOCK = Fraction(1, 90_000)


@dataclass(frozen=True)
class TimedPicture:
    """One upright frame [H, W, 3] uint8 RGB, and when it appears."""

    pixels: Picture
    pts_seconds: float


def frames_of(path: Path, limit: int | None = None) -> Iterator[TimedPicture]:
    """The frames of a video in order, at most `limit`; sides over 1920 px are scaled down.

    Raises InputError as `decode_clip` does.
    """
    with opened(path) as media, media.reader() as reader:
        scaler, after = Scaler(reader.pixel_aspect, LARGEST_SIDE_PX), None
        for index, frame in enumerate(reader.frames()):
            if index == limit:
                return
            after, _ = reader.shown(frame, after)
            yield TimedPicture(scaler.picture(frame), after)


def write_video(path: Path, frames: Iterable[TimedPicture], crf: int = 18, preset: str = "veryfast") -> int:
    """Write H.264 in 4:2:0 and an MP4, whole or not at all; the number of frames. No sound.

    An odd last row or column is cut. Raises InputError when there is no frame, or the file cannot be written.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.mp4")
    written = 0
    try:
        with av.open(str(partial), "w") as container:
            stream: Any = container.add_stream(
                "libx264", rate=25, options={"crf": str(crf), "preset": preset}
            )
            for each in frames:
                pixels = each.pixels[: each.pixels.shape[0] // 2 * 2, : each.pixels.shape[1] // 2 * 2]
                if not written:
                    stream.height, stream.width = pixels.shape[:2]
                    stream.pix_fmt, stream.codec_context.time_base = "yuv420p", _CLOCK
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
                frame.pts, frame.time_base = round(each.pts_seconds / _CLOCK), _CLOCK
                container.mux(stream.encode(frame))
                written += 1
            if not written:
                raise InputError(f"{path}: no frame to write")
            container.mux(stream.encode(None))
        partial.replace(path)
    except OSError as error:  # FFmpeg's are, too
        raise InputError(f"{path}: cannot be written: {error}") from error
    finally:
        partial.unlink(missing_ok=True)
    return written

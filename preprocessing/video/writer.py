"""Write frames as an H.264 video in an MP4, with the sound of another file."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.error
import numpy as np

from deepfake_triton.errors import InputError, InvalidOption
from deepfake_triton.files.atomic import atomic_write
from deepfake_triton.preprocessing.decoding.reader import VideoReader
from deepfake_triton.preprocessing.media.media_file import open_media
from deepfake_triton.preprocessing.video.audio import AudioTracks
from deepfake_triton.preprocessing.video.timed_frames import TimedFrame

_TIME_BASE = Fraction(1, 90_000)


def write_video(
    path: Path,
    frames: Iterable[TimedFrame],
    *,
    crf: int = 18,
    preset: str = "veryfast",
    sound: Path | None = None,
) -> int:
    """Write an MP4 of H.264 in 4:2:0, atomically and through links; return the number of frames.

    `sound` is the file that the frames come from: its audio is kept in sync with them. An odd last row or
    column is cut. Raises InputError when there is no frame or the file cannot be written, and InvalidOption
    for a name that does not end in .mp4.
    """
    if path.suffix.lower() != ".mp4":
        raise InvalidOption(f"{path}: got a name that ends in {path.suffix!r}, expected .mp4")
    with ExitStack() as files:
        reader = files.enter_context(files.enter_context(open_media(sound)).reader()) if sound else None
        try:  # inside, or the file of the sound is blamed
            with atomic_write(path) as partial:
                with av.open(str(partial), "w") as container:
                    written = _encode(container, frames, {"crf": str(crf), "preset": preset}, sound=reader)
                if not written:
                    raise InputError(f"{path}: no frame to write")
        except (OSError, av.error.FFmpegError) as error:
            raise InputError(f"{path}: cannot be written: {error.strerror or error}") from error
    return written


def _encode(
    container: Any, frames: Iterable[TimedFrame], options: dict[str, str], *, sound: VideoReader | None
) -> int:
    """Encode the frames, interleaved with the audio of the reader's file; return the number of frames."""
    stream: Any = container.add_stream("libx264", rate=25, options=options)
    stream.pix_fmt, stream.codec_context.time_base = "yuv420p", _TIME_BASE
    audio = AudioTracks(sound.container, container, zero_seconds=sound.start_seconds) if sound else None
    written, ticks = 0, -1
    for timed in frames:
        height, width = (side // 2 * 2 for side in timed.pixels.shape[:2])
        pixels = timed.pixels[:height, :width]
        if not written:
            stream.height, stream.width = pixels.shape[:2]
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
        seconds = timed.pts_seconds + (audio.lead_seconds if audio else 0.0)
        ticks = max(round(seconds / _TIME_BASE), ticks + 1)  # an encoder takes rising times only
        frame.pts, frame.time_base = ticks, _TIME_BASE
        if audio:
            audio.write_until(seconds)
        container.mux(stream.encode(frame))
        written += 1
    if written:
        container.mux(stream.encode(None))
        if audio:
            audio.close()
    return written

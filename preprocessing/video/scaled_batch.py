"""Convert decoded frames to RGB and stack them into one batch."""

from __future__ import annotations

from collections.abc import Iterable

import av.error
import numpy as np

from deepfake_triton.arrays import Image
from deepfake_triton.preprocessing.decoding.decoded_frame import DecodedFrame
from deepfake_triton.preprocessing.decoding.letterbox import stack_images
from deepfake_triton.preprocessing.decoding.reader import VideoReader
from deepfake_triton.preprocessing.decoding.scaling import Scaler
from deepfake_triton.preprocessing.video.frame_batch import FrameBatch


def scale_batch(
    frames: Iterable[DecodedFrame], num_frames: int, *, scaler: Scaler, reader: VideoReader
) -> tuple[FrameBatch | None, bool]:
    """Convert up to `num_frames` frames to RGB; one that has no conversion is noted as a fault of `reader`.

    Returns the batch, None where not one frame could be converted, and whether `frames` ended before
    `num_frames` were there.
    """
    images: list[Image] = []
    pts_seconds: list[float] = []
    end_seconds, is_at_end = 0.0, True
    for frame in frames:
        try:
            image = scaler.to_rgb(frame)
        except (av.error.FFmpegError, ValueError) as error:
            reader.note(f"frames that cannot become RGB ({error})")
            continue
        images.append(image)
        pts_seconds.append(frame.begin_seconds)
        end_seconds = frame.end_seconds
        if len(images) == num_frames:
            is_at_end = False
            break
    if not images:
        return None, is_at_end
    return FrameBatch(stack_images(images), np.asarray(pts_seconds), end_seconds), is_at_end

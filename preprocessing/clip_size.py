"""Limits on the size of one clip, the same wherever frames come in."""

from __future__ import annotations

from collections.abc import Sequence

from deepfake_triton.contracts import MAX_CLIP_PIXELS, MAX_FRAMES, MAX_SERVED_FRAME_SIDE
from deepfake_triton.errors import InvalidFrames


def require_clip_size(tensor: str, shape: Sequence[int]) -> None:
    """Check the `shape` (T, H, W) of a clip against the limits of the server.

    `tensor` names the input in the message. Raises InvalidFrames.
    """
    frames, height, width = shape
    if not 1 <= frames <= MAX_FRAMES or not height or not width or max(height, width) > MAX_SERVED_FRAME_SIDE:
        raise InvalidFrames(
            f"{tensor}: got {frames} of {width} × {height} px, expected 1…{MAX_FRAMES} of at most "
            f"{MAX_SERVED_FRAME_SIDE} px a side; send fewer, or scale them down"
        )
    pixels = frames * height * width
    if pixels > MAX_CLIP_PIXELS:
        raise InvalidFrames(
            f"{tensor}: got {pixels} pixels ({frames} of {width} × {height}), at most {MAX_CLIP_PIXELS} "
            "a clip; send fewer, or scale them down"
        )

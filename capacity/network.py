"""Bytes that one clip takes on the network, from the contract's tensors."""

from __future__ import annotations

from dataclasses import dataclass

from deepfake_triton.contracts import MAX_FACES, MAX_FRAMES, TensorSpec, deepfake_detector


@dataclass(frozen=True)
class ClipShape:
    """Frames of one clip and their size in pixels; `jpeg_frame_bytes` where each is sent as a JPEG file."""

    frames: int
    height: int
    width: int
    jpeg_frame_bytes: int | None = None

    @property
    def request_bytes(self) -> int:
        """Bytes of the frames."""
        if self.jpeg_frame_bytes is not None:
            return self.frames * self.jpeg_frame_bytes
        return self.frames * self.height * self.width * 3

    @property
    def response_bytes(self) -> int:
        """Bytes of an answer on as many faces as there can be."""
        return sum(_output_bytes(tensor, self.frames) for tensor in deepfake_detector().outputs)

    @property
    def total_bytes(self) -> int:
        """Bytes in both directions."""
        return self.request_bytes + self.response_bytes


def _output_bytes(tensor: TensorSpec, frames: int) -> int:
    """Return the bytes of an output: its first free dimension is faces, its second one frames."""
    if not 1 <= frames <= MAX_FRAMES:
        raise ValueError(f"got {frames} frames, expected 1…{MAX_FRAMES}")
    free = iter((MAX_FACES, frames))
    count = 1
    for size in tensor.shape:
        count *= next(free) if size is None else size
    return count * tensor.dtype.itemsize

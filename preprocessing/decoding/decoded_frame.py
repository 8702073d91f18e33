"""Decoded frames with their display times, and the neighbors that deinterlacing needs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from deepfake_triton.preprocessing.decoding.orientation import Orientation


@dataclass(frozen=True)
class DecodedFrame:
    """A PyAV frame displayed from `begin_seconds` to `end_seconds` on the video's monotonic clock.

    `before` and `after` are the neighboring PyAV frames, of an interlaced frame only. `pixel_aspect` (width
    of a stored pixel over its height) is set where it differs from the stream's, `top_field_first` where the
    file, not the frame itself, says that it is interlaced, and `orientation` where EXIF data or a HEIF file
    gives one.
    """

    frame: Any
    begin_seconds: float
    end_seconds: float
    before: Any = None
    after: Any = None
    pixel_aspect: Fraction | None = None
    top_field_first: bool | None = None
    orientation: Orientation | None = None

    @property
    def is_interlaced(self) -> bool:
        """Whether the frame interleaves two fields of different times."""
        return bool(self.frame.interlaced_frame) or self.top_field_first is not None


def attach_neighbors(frames: Iterable[DecodedFrame]) -> Iterator[DecodedFrame]:
    """Yield the same frames, each interlaced one with its neighbors, once the next frame is there; any other
    at once."""
    held: DecodedFrame | None = None
    before: Any = None
    for frame in frames:
        if held is not None:
            yield replace(held, after=frame.frame)
        held = replace(frame, before=before) if frame.is_interlaced else None
        if held is None:
            yield frame
        before = frame.frame
    if held is not None:
        yield held

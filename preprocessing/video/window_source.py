"""What a client judges: windows of frames, wherever they were decoded."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol, runtime_checkable

from deepfake_triton.preprocessing.video.frame_batch import FrameBatch


@runtime_checkable
class WindowSource(Protocol):
    """Windows of one video as an iterator of FrameBatch, such as VideoWindows.

    Attributes:
        name: Name of the video in its verdict.
        num_expected: Number of windows, known from the first one on.
        duration_seconds: Duration of the whole video, known after the last window.
        fault: What was wrong with a file of which only a part could be decoded, after the last window.
    """

    @property
    def name(self) -> str:
        """Name of the video in its verdict."""

    @property
    def num_expected(self) -> int:
        """Number of windows."""

    @property
    def duration_seconds(self) -> float:
        """Duration of the whole video."""

    @property
    def fault(self) -> str | None:
        """What was wrong with the file."""

    def __iter__(self) -> Iterator[FrameBatch]:
        """Decode the windows in the order of the video. Raises InputError, or DeadlineExceeded."""

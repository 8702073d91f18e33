"""Progress of one detection, for callers that show it."""

from __future__ import annotations

from dataclasses import dataclass, field

from deepfake_triton.client.verdicts.verdict import FaceVerdict


@dataclass(frozen=True)
class DetectionProgress:
    """A window of a video that was decoded, or judged.

    Attributes:
        windows_decoded: Windows decoded so far.
        windows_judged: Windows judged so far.
        num_windows: Expected number of all windows.
        faces: Faces of the window that was judged, each with its probability but no verdict; None when the
            window was decoded.
        start_seconds: Start of the window, on the video's own clock.
        end_seconds: Its end.
    """

    windows_decoded: int
    windows_judged: int
    num_windows: int
    faces: tuple[FaceVerdict, ...] | None = field(repr=False)
    start_seconds: float
    end_seconds: float

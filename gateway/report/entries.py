"""What a report tells about one file."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone

from deepfake_triton.client.verdicts.verdict import VideoFailure, VideoVerdict


@dataclass(frozen=True)
class ReportEntry:
    """One file of a report.

    Attributes:
        name: Its name: text of a stranger.
        sha256: SHA-256 of its bytes in hexadecimal; None where they could not be read.
        judged_at: When it was judged, by time.time().
        outcome: The verdict, or why there is none.
        size_bytes: Its size; None where it is unknown.
    """

    name: str
    sha256: str | None
    judged_at: float
    outcome: VideoVerdict | VideoFailure
    size_bytes: int | None = None

    @property
    def judged_at_text(self) -> str:
        """Date and time (UTC), such as `2026-01-31 12:34:56`."""
        return utc_text(self.judged_at)


def utc_text(seconds: float) -> str:
    """Format a time of time.time() as date and time of day in UTC."""
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%d %H:%M:%S")

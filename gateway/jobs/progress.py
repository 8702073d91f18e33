"""How far a job is."""

from __future__ import annotations

from dataclasses import dataclass, replace

from deepfake_triton.gateway.jobs.events import Decoded, Event, Queued, WindowJudged


@dataclass(frozen=True)
class Progress:
    """How far a job is.

    Attributes:
        position: Place in the queue, 1 is next; None once the job has left it.
        windows_decoded: Number of decoded windows.
        windows_judged: Number of judged windows.
        num_windows: Expected number of all windows; None before the first was decoded.
    """

    position: int | None = None
    windows_decoded: int = 0
    windows_judged: int = 0
    num_windows: int | None = None

    def after(self, event: Event) -> Progress:
        """Return how far the job is after a further event."""
        if isinstance(event, Queued):
            return replace(self, position=event.position)
        if isinstance(event, Decoded):
            return replace(
                self, position=None, windows_decoded=event.windows_decoded, num_windows=event.num_windows
            )
        if isinstance(event, WindowJudged):
            return replace(self, windows_judged=event.windows_judged, num_windows=event.num_windows)
        return self.outside_queue()

    def outside_queue(self) -> Progress:
        """Return the progress of a job that does not wait any more."""
        return replace(self, position=None)

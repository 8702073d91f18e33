"""Progress of the phases of a training run on a terminal or in a log."""

from __future__ import annotations

import sys

from deepfake_triton.console.progress import Stage, is_progress_shown


class PhaseBar:
    """Progress bar of each phase, with the time left.

    Without a terminal, a line is printed whenever the figures change.
    """

    def __init__(self, bar: Stage) -> None:
        self._bar = bar
        self._figures = ""

    def __call__(self, phase: str, *, done: int, total: int, figures: str) -> None:
        """Show that `done` of `total` steps of a phase are over, and the latest metrics."""
        self._bar.update(f"{phase}: {figures}" if figures else phase, done, total)
        if figures != self._figures and not is_progress_shown():
            print(f"{phase} {done}/{total}: {figures}", file=sys.stderr, flush=True)
        self._figures = figures

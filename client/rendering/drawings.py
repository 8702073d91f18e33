"""Plots and overlays of a batch of videos, and the files that they are written to."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from deepfake_triton.client.rendering.overlay import write_overlay
from deepfake_triton.client.rendering.timeline_plot import plot_timeline
from deepfake_triton.client.verdicts.verdict import VideoVerdict
from deepfake_triton.files.atomic import is_possible_name
from deepfake_triton.files.outputs import OutputFile

PLOT_OPTION, OVERLAY_OPTION = "--plot", "--overlay"
_PLACEHOLDER = re.compile(r"\{(name|number)\}")


@dataclass(frozen=True)
class Drawings:
    """File names of the plots and overlays to draw, None for none. {name} stands for a video's name without
    its suffix, {number} for its position in the batch, from 1."""

    plot: Path | None = None
    overlay: Path | None = None

    def files(self, number: int, video: str) -> tuple[OutputFile, ...]:
        """Return the files of one video."""
        return tuple(
            OutputFile(option, _fill_in(pattern, number, video), video)
            for option, pattern in self._patterns()
        )

    def possible_files(self, number: int, video: str) -> tuple[OutputFile, ...]:
        """Return the files of one video, without those whose names become too long or impossible by the
        video's name: they fail on their own."""
        of_batch = {option for option, pattern in self._patterns() if _PLACEHOLDER.search(str(pattern))}
        files = self.files(number, video)
        return tuple(file for file in files if file.option not in of_batch or is_possible_name(file.path))

    def shared_option(self) -> str | None:
        """Return an option whose file would be the same for every video, None without one."""
        return next((option for option, path in self._patterns() if not _PLACEHOLDER.search(str(path))), None)

    def _patterns(self) -> list[tuple[str, Path]]:
        both = (PLOT_OPTION, self.plot), (OVERLAY_OPTION, self.overlay)
        return [(option, pattern) for option, pattern in both if pattern is not None]


def draw(file: OutputFile, verdict: VideoVerdict) -> None:
    """Write the plot or the overlay of a verdict. Raises InputError, or MissingDependency."""
    if file.option == PLOT_OPTION:
        plot_timeline(verdict, file.path)
    else:
        write_overlay(Path(file.source), verdict, file.path)


def _fill_in(pattern: Path, number: int, video: str) -> Path:
    stem = Path(video).stem
    values = {"name": stem if stem.strip(".") else Path(video).name, "number": str(number)}
    return Path(_PLACEHOLDER.sub(lambda found: values[found[1]], str(pattern)))

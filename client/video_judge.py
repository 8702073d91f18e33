"""One video of the command line, from its name to its line, its picture and its overlay."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepfake_triton.client.client import DeepfakeClient
from deepfake_triton.client.inputs import NamedVideo
from deepfake_triton.client.overlay import write_overlay
from deepfake_triton.client.results import ResultFile
from deepfake_triton.client.text import line_text, verdict_text
from deepfake_triton.client.timeline_plot import plot_timeline
from deepfake_triton.client.verdict import VideoVerdict, failure_as_dict
from deepfake_triton.errors import DeepfakeError
from deepfake_triton.preprocessing.sampling import FrameSelection
from deepfake_triton.terminal import printable


@dataclass(frozen=True)
class Outcome:
    """What became of a video: the documented JSON, the same for people, and what stderr says."""

    line: Mapping[str, Any]
    text: str
    warnings: tuple[str, ...]
    error: DeepfakeError | None


class VideoJudge:
    """Usable from many threads."""

    def __init__(
        self,
        client: DeepfakeClient,
        selection: FrameSelection,
        results: ResultFile | None,
        plot: Path | None,
        overlay: Path | None,
        show: Callable[[str], None],
    ) -> None:
        """`plot` and `overlay` may hold {name} and {number}; `show` is told what is under way."""
        self._client, self._selection, self._results = client, selection, results
        self._plot, self._overlay, self._show = plot, overlay, show
        self._stopped = False

    def outcome(self, number: int, video: NamedVideo) -> Outcome:
        """Judge the video, unless an earlier run has. Raises DatasetError when its line cannot be kept."""
        known = self._results.verdict_on(video.path) if self._results else None
        if known is not None:
            return Outcome(known, line_text(known), (), None)
        try:
            outcome = self._judged(number, video)
        except DeepfakeError as error:
            line = failure_as_dict(video.path, error, self._client.known_model)
            outcome = Outcome(line, "", (str(error),), error)
        if self._results and not self._stopped:
            self._results.add(dict(outcome.line))
        return outcome

    def stop(self) -> None:
        """What ends from now on, ends since the run is over: it is no result."""
        self._stopped = True

    def _judged(self, number: int, video: NamedVideo) -> Outcome:
        if video.error:
            raise video.error
        name = printable(Path(video.path).name)
        verdict = self._client.detect(
            video.path,
            self._selection,
            lambda stage: self._show(f"{name}: {stage}"),
        )
        warnings = _warnings(verdict)
        try:
            self._draw(number, video.path, verdict)
        except DeepfakeError as error:  # the verdict stands, but the caller wanted more
            return Outcome(verdict.as_dict(), verdict_text(verdict), (*warnings, str(error)), error)
        return Outcome(verdict.as_dict(), verdict_text(verdict), warnings, None)

    def _draw(self, number: int, video: str, verdict: VideoVerdict) -> None:
        if self._plot:
            plot_timeline(verdict, _filled(self._plot, number, video))
        if self._overlay:
            self._show(f"{printable(Path(video).name)}: overlay")
            write_overlay(Path(video), verdict, _filled(self._overlay, number, video))


def _filled(pattern: Path, number: int, video: str) -> Path:
    return Path(str(pattern).replace("{name}", Path(video).stem).replace("{number}", str(number)))


def _warnings(verdict: VideoVerdict) -> tuple[str, ...]:
    if not verdict.fault:
        return ()
    frames = verdict.frames_decoded
    return (f"{verdict.video}: truncated: {verdict.fault}; judged by the {frames} frames that decode",)

"""A verdict as a picture: for every person a portrait, and the probability over the time of the video."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from deepfake_triton.client.verdict import FaceVerdict, Verdict, VideoVerdict
from deepfake_triton.errors import InputError, MissingDependency

FORMATS = (".png", ".svg")
COLOURS = {Verdict.FAKE: "#c0392b", Verdict.REAL: "#27803f", Verdict.INCONCLUSIVE: "#7f8c8d"}
_ROW_INCHES = 1.5


def plot_timeline(verdict: VideoVerdict, path: Path) -> None:
    """Write a PNG or an SVG, by the name's ending. Raises InputError when it cannot be written, and
    MissingDependency without matplotlib."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingDependency("plots need matplotlib: pip install 'deepfake-triton[plot]'") from error
    rows = max(1, len(verdict.faces))
    figure = Figure(figsize=(9, 0.9 + _ROW_INCHES * rows), layout="constrained")
    figure.suptitle(_title(verdict), fontsize=11, color=COLOURS[verdict.verdict], parse_math=False)
    grid = figure.subplots(rows, 2, squeeze=False, width_ratios=(1, 7))
    timelines = grid[:, 1]
    for (left, right), face in zip(grid, verdict.faces, strict=False):
        _portrait(left, face)
        _timeline(right, face, verdict)
    if not verdict.faces:
        grid[0, 0].axis("off")
        timelines[0].text(0.5, 0.5, "no face was found", ha="center", va="center")
        timelines[0].set(xticks=[], yticks=[])
    for axis in timelines[:-1]:
        axis.tick_params(labelbottom=False)
    timelines[-1].set_xlabel("seconds")
    try:
        figure.savefig(path, metadata={"Date": None} if path.suffix.lower() == ".svg" else {})
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error}") from error


def _title(verdict: VideoVerdict) -> str:
    tail = "" if verdict.fake_probability is None else f", probability of FAKE {verdict.fake_probability:.3f}"
    reason = f" ({verdict.reason})" if verdict.reason else ""
    weights = ", untrained weights: means nothing" if verdict.model.weights == "untrained" else ""
    return f"{Path(verdict.video).name}: {verdict.verdict.value}{reason}{tail}{weights}"


def _portrait(axis: Any, face: FaceVerdict) -> None:
    axis.imshow(face.portrait)
    axis.set(xticks=[], yticks=[])
    decided = face.verdict or Verdict.INCONCLUSIVE
    for side in axis.spines.values():
        side.set(color=COLOURS[decided], linewidth=3)
    axis.set_xlabel(face.reason or f"{decided.value} {face.fake_probability:.2f}", fontsize=8)
    axis.set_ylabel(f"face {face.track}", fontsize=8)


def _timeline(axis: Any, face: FaceVerdict, verdict: VideoVerdict) -> None:
    point = verdict.model.operating_point
    for each in face.segments:
        colour = COLOURS[Verdict.FAKE if each.fake_probability >= point else Verdict.REAL]
        axis.plot(
            [each.start_seconds, each.end_seconds], [each.fake_probability] * 2, color=colour, linewidth=4
        )
        axis.axvspan(each.start_seconds, each.end_seconds, color=colour, alpha=0.12, linewidth=0)
    axis.axhline(point, color="black", linewidth=0.8, linestyle="--")
    axis.set(xlim=(0, max(verdict.duration_seconds, 0.1)), ylim=(-0.04, 1.04), yticks=[0, 0.5, 1])
    axis.grid(alpha=0.25)

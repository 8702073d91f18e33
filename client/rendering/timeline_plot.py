"""Timeline plot of a verdict: a portrait of every person, and the probability over time."""

from __future__ import annotations

import datetime
import textwrap
from pathlib import Path
from typing import Any

from deepfake_triton.client.rendering.colors import FAKE, NOT_JUDGED, REAL, UNSURE, hex_color, verdict_color
from deepfake_triton.client.rendering.formatting import UNTRAINED_WARNING, not_judged_text, verdict_headline
from deepfake_triton.client.verdicts.verdict import FaceVerdict, Verdict, VideoVerdict
from deepfake_triton.client_defaults import PLOT_SUFFIXES
from deepfake_triton.console.terminal import printable
from deepfake_triton.errors import InputError, InvalidOption, MissingDependency
from deepfake_triton.files.atomic import atomic_write
from deepfake_triton.operating_point import OperatingPoint

_WIDTH_INCHES, _ROW_INCHES, _REST_INCHES = 9.0, 1.6, 1.5
_LINE_LETTERS, _NAME_LETTERS = 88, 58


def plot_timeline(verdict: VideoVerdict, path: Path, drawn_on: datetime.date | None = None) -> None:
    """Write a PNG or an SVG, by the suffix of `path`, with verdict, thresholds, model, and the date
    `drawn_on` (by default today). Raises InvalidOption for another suffix, InputError when it cannot be
    written, and MissingDependency without matplotlib."""
    if path.suffix.lower() not in PLOT_SUFFIXES:
        raise InvalidOption(f"{path}: got a name that ends in {path.suffix!r}, expected .png or .svg")
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingDependency("plots need matplotlib: pip install 'deepfake-triton[plot]'") from error
    rows = max(1, len(verdict.faces))
    figure = Figure(figsize=(_WIDTH_INCHES, _REST_INCHES + _ROW_INCHES * rows), layout="constrained")
    color = hex_color(verdict_color(verdict.verdict, verdict.reason))
    figure.suptitle(_title(verdict), fontsize=11, color=color, parse_math=False)
    grid = figure.subplots(rows, 2, squeeze=False, width_ratios=(1, 7))
    timelines = grid[:, 1]
    for (left, right), face in zip(grid, verdict.faces, strict=False):
        _draw_portrait(left, face)
        _draw_timeline(right, face, verdict)
    if not verdict.faces:
        grid[0, 0].axis("off")
        _draw_axes(timelines[0], verdict)
        timelines[0].text(
            0.5, 0.75, "no face was found", ha="center", va="center", transform=timelines[0].transAxes
        )
    for axis in timelines[:-1]:
        axis.tick_params(labelbottom=False)
    timelines[-1].set_xlabel("time in seconds")
    _draw_legend(figure, verdict, drawn_on or datetime.date.today())
    _save(figure, path)


def _save(figure: Any, path: Path) -> None:
    """Write the figure atomically and reproducibly: an SVG has neither random names nor a date."""
    from matplotlib import rc_context

    try:
        with rc_context({"svg.hashsalt": "deepfake-triton"}), atomic_write(path) as partial:
            figure.savefig(partial, metadata={"Date": None} if path.suffix.lower() == ".svg" else {})
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror or error}") from error


def _title(verdict: VideoVerdict) -> str:
    """Return the headline of the verdict's text, wrapped."""
    headline = verdict_headline(
        verdict.verdict.value,
        verdict.reason,
        probability=verdict.fake_probability,
        thresholds=verdict.model.thresholds,
    )
    name = printable(Path(verdict.video).name)
    name = name if len(name) <= _NAME_LETTERS else f"{name[: _NAME_LETTERS - 1]}…"
    unjudged = not_judged_text(verdict)
    lines = [name, headline, *([f"not judged: {unjudged}"] if unjudged else [])]
    if verdict.model.weights == "untrained":
        lines.append(UNTRAINED_WARNING)
    return "\n".join(part for line in lines for part in textwrap.wrap(line, _LINE_LETTERS))


def _draw_portrait(axis: Any, face: FaceVerdict) -> None:
    axis.imshow(face.portrait)
    axis.set(xticks=[], yticks=[])
    for side in axis.spines.values():
        side.set(color=hex_color(verdict_color(face.verdict, face.reason)), linewidth=3)
    axis.set_xlabel(_portrait_label(face), fontsize=8)
    axis.set_ylabel(f"person {face.track}", fontsize=8)


def _portrait_label(face: FaceVerdict) -> str:
    decided = face.verdict or Verdict.INCONCLUSIVE
    if not face.shows_enough:
        return f"not judged\n{face.reason}"
    return f"{decided.value}\n{face.reason or 'probability'} {face.fake_probability:.3f}"


def _draw_timeline(axis: Any, face: FaceVerdict, verdict: VideoVerdict) -> None:
    _draw_axes(axis, verdict)
    for segment in face.segments:
        color = hex_color(
            _side_color(segment.fake_probability, verdict.model.thresholds)
            if face.shows_enough
            else NOT_JUDGED
        )
        span = [segment.start_seconds, segment.end_seconds]
        axis.plot(span, [segment.fake_probability] * 2, color=color, linewidth=4)
        axis.axvspan(*span, color=color, alpha=0.12, linewidth=0)


def _side_color(probability: float, thresholds: OperatingPoint) -> tuple[int, int, int]:
    if thresholds.is_fake(probability):
        return FAKE
    return UNSURE if thresholds.is_uncertain(probability) else REAL


def _draw_axes(axis: Any, verdict: VideoVerdict) -> None:
    """Draw axes, and the thresholds of the operating point."""
    thresholds = verdict.model.thresholds
    axis.axhline(thresholds.fake_at_least, color=hex_color(FAKE), linewidth=1, linestyle="--")
    axis.axhline(thresholds.real_at_most, color=hex_color(REAL), linewidth=1, linestyle=(0, (2, 2)))
    axis.set(xlim=(0, max(verdict.duration_seconds, 0.1)), ylim=(-0.04, 1.04), yticks=[0, 0.5, 1])
    axis.set_ylabel("probability\nof FAKE", fontsize=8)
    axis.grid(alpha=0.25)


def _draw_legend(figure: Any, verdict: VideoVerdict, drawn_on: datetime.date) -> None:
    """Draw the legend below the plot: lines, colors, model, and date."""
    from matplotlib.lines import Line2D

    thresholds, model = verdict.model.thresholds, verdict.model
    below = "<" if thresholds.real_at_most == thresholds.fake_at_least else "≤"
    parts = [
        Line2D([], [], color=hex_color(FAKE), ls="--", label=f"FAKE ≥ {thresholds.fake_at_least:.3g}"),
        Line2D(
            [], [], color=hex_color(REAL), ls=(0, (2, 2)), label=f"REAL {below} {thresholds.real_at_most:.3g}"
        ),
    ]
    if thresholds.real_at_most < thresholds.fake_at_least:
        parts.append(Line2D([], [], color=hex_color(UNSURE), linewidth=4, label="uncertain, between them"))
    if not all(face.shows_enough for face in verdict.faces):
        parts.append(Line2D([], [], color=hex_color(NOT_JUDGED), linewidth=4, label="not judged"))
    named = f"{model.name} version {model.version}, {model.weights} weights, sha256 {model.sha256[:12]}"
    title = printable(f"operating point {thresholds.name} · {named} · {drawn_on.isoformat()}")
    figure.legend(
        handles=parts, loc="outside lower center", ncols=len(parts), fontsize=8, title=title, title_fontsize=8
    ).get_title().set_parse_math(False)

"""Plots of an evaluation as SVG: ROC curve, reliability diagram, and histogram of scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from deepfake_triton.classification_metrics import roc_curve
from deepfake_triton.operating_point import OperatingPoint, points_from_thresholds
from deepfake_triton.training.evaluation.corruptions import AS_IS
from deepfake_triton.training.evaluation.results import Evaluation

PLOT_FILES = ("roc.svg", "reliability.svg", "scores.svg")
_RELIABILITY_BINS = 10
_HISTOGRAM_BINS = 25
_OVERLAP = 0.05
"""Distance on the probability axis below which the labels of two thresholds would overlap."""


def write_plots(folder: Path, evaluation: Evaluation) -> None:
    """Write the `PLOT_FILES` of the clips without a corruption, where there are clips of both labels."""
    clips = [
        (clip.fake_probability, clip.label)
        for clip in evaluation.scores
        if clip.corruption == AS_IS and clip.fake_probability is not None
    ]
    scores = np.array([score for score, _ in clips], np.float64)
    labels = np.array([label for _, label in clips], np.int64)
    if len(np.unique(labels)) < 2:
        return
    header = evaluation.header
    caption = "\n".join(text for text in (header.model, header.date) if text)
    auc = evaluation.by_corruption[AS_IS].auc
    label = "AUC –" if auc.value is None else f"AUC {auc.value:.3f} [{auc.low:.3f}, {auc.high:.3f}]"
    _plot_roc(folder / "roc.svg", scores, labels, label=label, caption=caption)
    _plot_reliability(folder / "reliability.svg", scores, labels, caption=caption)
    points = points_from_thresholds(evaluation.operating_points, evaluation.real_at_most or {})
    _plot_scores(folder / "scores.svg", scores, labels, points=points, caption=caption)


def _plot_roc(
    path: Path, scores: npt.NDArray[np.float64], labels: npt.NDArray[np.int64], *, label: str, caption: str
) -> None:
    false, true, _ = roc_curve(scores, labels)
    figure, axis = _figure((5, 5), "ROC", caption)
    axis.plot(false, true, label=label)
    axis.plot([0, 1], [0, 1], color="gray", linestyle=":", label="chance")
    axis.set(xlabel="real clips called FAKE", ylabel="fakes found")
    axis.legend(loc="lower right")
    figure.savefig(path, metadata={"Date": None})


def _plot_reliability(
    path: Path, scores: npt.NDArray[np.float64], labels: npt.NDArray[np.int64], *, caption: str
) -> None:
    figure, axis = _figure((5, 5), "Reliability", caption)
    bins = [b for b in np.array_split(np.argsort(scores, kind="stable"), _RELIABILITY_BINS) if len(b)]
    axis.plot([scores[b].mean() for b in bins], [labels[b].mean() for b in bins], marker="o", label="clips")
    axis.plot([0, 1], [0, 1], color="gray", linestyle=":", label="calibrated")
    axis.set(xlabel="mean probability of FAKE", ylabel="share of fakes")
    axis.legend(loc="lower right")
    figure.savefig(path, metadata={"Date": None})


def _plot_scores(
    path: Path,
    scores: npt.NDArray[np.float64],
    labels: npt.NDArray[np.int64],
    *,
    points: Sequence[OperatingPoint],
    caption: str,
) -> None:
    figure, axis = _figure((7, 4), "Scores", caption)
    edges = np.linspace(0, 1, _HISTOGRAM_BINS + 1).tolist()
    for label, name in enumerate(("real", "fake")):
        axis.hist(scores[labels == label], edges, alpha=0.6, label=name)
    _draw_thresholds(axis, _threshold_labels(points))
    axis.set(xlabel="probability of FAKE", ylabel="clips")
    axis.legend()
    figure.savefig(path, metadata={"Date": None})


def _draw_thresholds(axis: Any, labels: Mapping[float, str]) -> None:
    """Draw a labeled line at each threshold.

    Labels are at the top, or at the bottom beside a near one at the top.
    """
    previous, place = -1.0, "top"
    for threshold, text in sorted(labels.items()):
        place = "bottom" if place == "top" and threshold - previous < _OVERLAP else "top"
        axis.axvline(threshold, color="gray", linestyle="--" if "FAKE" in text else ":")
        y = axis.get_ylim()[place == "top"]
        axis.text(threshold, y, f" {text} ", rotation=90, va=place, fontsize=8)
        previous = threshold


def _threshold_labels(points: Sequence[OperatingPoint]) -> dict[float, str]:
    """Return the label of each threshold; one that several operating points share is labeled once."""
    names: dict[tuple[float, str], list[str]] = {}
    for point in points:
        names.setdefault((point.fake_at_least, "FAKE ≥"), []).append(point.name)
        if point.real_at_most < point.fake_at_least:
            names.setdefault((point.real_at_most, "REAL ≤"), []).append(point.name)
    texts: dict[float, list[str]] = {}
    for (threshold, side), sharing in names.items():
        texts.setdefault(threshold, []).append(f"{', '.join(sharing)}: {side} {threshold:.3g}")
    return {threshold: "; ".join(parts) for threshold, parts in texts.items()}


def _figure(size_inches: tuple[float, float], title: str, caption: str) -> tuple[Any, Any]:
    """Create a figure with one axis; the caption below the plot names the model and the date."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=size_inches, layout="constrained")
    axis = figure.subplots()
    axis.set_title(title)
    figure.supxlabel(caption, fontsize=6, parse_math=False)
    return figure, axis

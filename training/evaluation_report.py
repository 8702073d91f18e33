"""An evaluation as files: figures as JSON, a report in Markdown, and plots as SVG."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from deepfake_triton.metrics import roc_curve
from deepfake_triton.training.evaluate import Scores
from deepfake_triton.training.variants import AS_IS

_BINS = 10


def write_report(folder: Path, scores: Scores, figures: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
    """Write `evaluation.json`, `report.md`, `roc.svg`, `reliability.svg` and `scores.svg` into the folder.

    `facts` says what was evaluated: the model, the manifest, the time.
    """
    folder.mkdir(parents=True, exist_ok=True)
    content = {**facts, **figures, "scores": [asdict(clip) for clip in scores.clips]}
    (folder / "evaluation.json").write_text(json.dumps(content, indent=1) + "\n")
    (folder / "report.md").write_text(markdown(figures, facts))
    plain = [c for c in scores.clips if c.variant == AS_IS and c.fake_probability is not None]
    labels = np.array([clip.label for clip in plain], np.int64)
    served = np.array([clip.fake_probability for clip in plain], np.float64)
    if len(np.unique(labels)) == 2:
        _plots(folder, served, labels, figures)


def markdown(figures: Mapping[str, Any], facts: Mapping[str, Any]) -> str:
    """The report; intervals are 95 % by bootstrap over people."""
    lines = ["# Evaluation", ""]
    lines += [f"- {name}: {value}" for name, value in facts.items()]
    lines += ["- intervals: 95 %, bootstrap over people", ""]
    lines += ["## Under degradations", "", *figures_table(figures["variants"], "variant")]
    for title, key in (("By source", "by_source"), ("By manipulation", "by_manipulation")):
        lines += ["", f"## {title}", "", *figures_table(figures[key], title.split()[1])]
    lines += [
        "",
        "## Decisions",
        "",
        "| variant | operating point | accuracy | precision | recall | F1 | false alarms |",
    ]
    lines += ["| --- | --- | --- | --- | --- | --- | --- |"]
    for variant, summary in figures["variants"].items():
        for point, found in summary["decisions"].items():
            cells = [
                figure_text(found[name]) for name in ("accuracy", "precision", "recall", "f1", "false_alarms")
            ]
            lines.append(f"| {variant} | {point} ({found['threshold']}) | {' | '.join(cells)} |")
    if figures["faults"]:
        lines += ["", "## Not processed", ""]
        lines += [f"- {name}: {reason}" for name, reason in figures["faults"].items()]
    if AS_IS in figures["variants"]:
        lines += ["", "![ROC](roc.svg)", "![reliability](reliability.svg)", "![scores](scores.svg)"]
    return "\n".join(lines) + "\n"


def figures_table(groups: Mapping[str, Any], name: str) -> list[str]:
    """One row a group (a variant, a source, a manipulation), as Markdown; `name` heads the first column."""
    rows = [
        f"| {name} | clips | AUC | sharpness alone | JPEG size alone | fake above its original | "
        "average precision | equal error | calibration error | INCONCLUSIVE |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for group, summary in groups.items():
        pairs = summary["pairs"]
        cells = [
            group,
            f"{summary['real']} real, {summary['fake']} fake",
            figure_text(summary["auc"]),
            figure_text(summary["rivals"]["sharpness"]),
            figure_text(summary["rivals"]["jpeg_bytes"]),
            f"{figure_text(pairs['fake_above_original'])} of {pairs['pairs']}" if pairs["pairs"] else "–",
            figure_text(summary["average_precision"]),
            figure_text(summary["equal_error_rate"]),
            figure_text(summary.get("calibration_error")),
            figure_text(summary["inconclusive_share"]),
        ]
        rows.append(f"| {' | '.join(cells)} |")
    return rows


def figure_text(figure: Any) -> str:
    """A figure of `figures_of`, with its interval where it has one."""
    if isinstance(figure, Mapping):
        if figure["value"] is None:
            return "–"
        return f"{figure['value']:.3f} [{figure_text(figure['low'])}, {figure_text(figure['high'])}]"
    return "–" if figure is None else f"{figure:.3f}"


def _plots(folder: Path, served: Any, labels: Any, figures: Mapping[str, Any]) -> None:
    from matplotlib.figure import Figure

    false, true, _ = roc_curve(served, labels)
    figure = Figure(figsize=(5, 5), layout="constrained")
    axis = figure.subplots()
    axis.plot(false, true, label=f"AUC {figure_text(figures['variants'][AS_IS]['auc'])}")
    axis.plot([0, 1], [0, 1], color="grey", linestyle=":")
    axis.set(xlabel="real clips called FAKE", ylabel="fakes found", title="ROC")
    axis.legend(loc="lower right")
    figure.savefig(folder / "roc.svg", metadata={"Date": None})

    figure = Figure(figsize=(5, 5), layout="constrained")
    axis = figure.subplots()
    parts = [p for p in np.array_split(np.argsort(served, kind="stable"), _BINS) if len(p)]
    axis.plot([served[p].mean() for p in parts], [labels[p].mean() for p in parts], marker="o")
    axis.plot([0, 1], [0, 1], color="grey", linestyle=":")
    axis.set(xlabel="mean probability of FAKE", ylabel="share of fakes", title="Reliability")
    figure.savefig(folder / "reliability.svg", metadata={"Date": None})

    figure = Figure(figsize=(7, 4), layout="constrained")
    axis = figure.subplots()
    edges = np.linspace(0, 1, 26).tolist()
    for label, name in enumerate(("real", "fake")):
        axis.hist(served[labels == label], edges, alpha=0.6, label=name)
    for name, threshold in figures["operating_points"].items():
        axis.axvline(threshold, color="grey", linestyle="--")
        axis.text(threshold, axis.get_ylim()[1], f" {name}", rotation=90, va="top", fontsize=8)
    axis.set(xlabel="probability of FAKE", ylabel="clips", title="Scores")
    axis.legend()
    figure.savefig(folder / "scores.svg", metadata={"Date": None})

"""Report of an evaluation: figures as JSON, a text in Markdown, and plots as SVG."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from deepfake_triton.operating_point import OperatingPoint
from deepfake_triton.training.evaluation.corruptions import AS_IS
from deepfake_triton.training.evaluation.figures import Estimate, GroupFigures, MirrorFigures
from deepfake_triton.training.evaluation.plots import PLOT_FILES, write_plots
from deepfake_triton.training.evaluation.results import Evaluation, EvaluationHeader

REPORT_FILES = ("evaluation.json", "report.md", *PLOT_FILES)
BEFORE_INTERVALS = "95 %, bootstrap over people"
"""How evaluations of earlier releases, which do not say it, computed intervals."""


def write_report(folder: Path, evaluation: Evaluation) -> None:
    """Write the `REPORT_FILES` into the folder; the plots only where there are clips of both labels."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "evaluation.json").write_text(json.dumps(evaluation.to_json(), indent=1) + "\n")
    (folder / "report.md").write_text(format_report(evaluation))
    write_plots(folder, evaluation)


def format_report(evaluation: Evaluation) -> str:
    """Return the report."""
    lines = ["# Evaluation", "", *header_lines(evaluation.header), ""]
    lines += ["## Under degradations", "", *figures_table(evaluation.by_corruption, "variant")]
    lines += ["", "## By source", "", *figures_table(evaluation.by_source, "source")]
    lines += ["", "## By manipulation", "", *figures_table(evaluation.by_manipulation, "manipulation")]
    if evaluation.by_split:
        lines += ["", "## By split", "", *figures_table(evaluation.by_split, "split")]
    if evaluation.by_condition:
        lines += ["", "## By condition", "", *figures_table(evaluation.by_condition, "condition")]
        lines += ["", *changes_table(evaluation.by_condition)]
    if evaluation.mirroring:
        lines += ["", "## Mirroring", "", *mirroring_lines(evaluation.mirroring)]
    lines += ["", "## Decisions", "", *decisions_table(evaluation.by_corruption)]
    for name, found in (("split", evaluation.by_split), ("condition", evaluation.by_condition)):
        lines += ["", *decisions_table(found, name)] if found else []
    groups = {
        **evaluation.by_corruption,
        **evaluation.by_source,
        **evaluation.by_manipulation,
        **evaluation.by_split,
        **evaluation.by_condition,
    }
    few = [f"- {name}: {group.too_few}" for name, group in groups.items() if group.too_few]
    if few:
        lines += ["", "## Too few for figures", "", *few]
    if evaluation.faults:
        lines += ["", "## Not processed", ""]
        lines += [f"- {name}: {reason}" for name, reason in evaluation.faults.items()]
    if AS_IS in evaluation.by_corruption:
        lines += ["", "![ROC](roc.svg)", "![reliability](reliability.svg)", "![scores](scores.svg)"]
    return "\n".join(lines) + "\n"


def figures_table(groups: Mapping[str, GroupFigures], name: str) -> list[str]:
    """Return a Markdown table with a row per group; `name` heads the first column."""
    rows = [
        f"| {name} | clips | AUC | sharpness alone | JPEG size alone | fake above its original | "
        "average precision | equal error | calibration error | INCONCLUSIVE |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for group, figures in groups.items():
        pairs = figures.pairs
        cells = [
            group,
            f"{figures.real} real, {figures.fake} fake",
            figure_text(figures.auc),
            figure_text(figures.baselines["sharpness"]),
            figure_text(figures.baselines["jpeg_bytes"]),
            f"{figure_text(pairs.fake_above_original)} of {pairs.pairs}" if pairs.pairs else "–",
            figure_text(figures.average_precision),
            figure_text(figures.equal_error_rate),
            figure_text(figures.calibration_error),
            figure_text(figures.inconclusive_share),
        ]
        rows.append(f"| {' | '.join(cells)} |")
    return rows


def header_lines(header: EvaluationHeader) -> list[str]:
    """Return a Markdown list of what was evaluated, and how the intervals were computed."""
    stored = {"intervals": BEFORE_INTERVALS, **header.to_json()}
    stored["intervals"] = stored.pop("intervals")
    return [f"- {name}: {value}" for name, value in stored.items()]


def mirroring_lines(found: MirrorFigures) -> list[str]:
    """Return a Markdown list of what mirroring the clips changes."""
    return [
        f"- clips: {found.clips}",
        f"- change of the probability: mean {found.mean_change:.3f}, largest {found.largest_change:.3f}",
        f"- clips with another verdict: {found.other_verdicts:.3f}",
        "- AUC of the mean of both, less that of either alone (interval by bootstrap alone): "
        f"{figure_text(found.auc_gain)}",
    ]


def changes_table(groups: Mapping[str, GroupFigures]) -> list[str]:
    """Return a Markdown table of what each condition changes in the probability of real clips."""
    rows = [
        "| condition | real clips, each beside its plain one | mean change | mean absolute change |",
        "| --- | --- | --- | --- |",
    ]
    for name, group in groups.items():
        found = group.real_change
        if found is not None:
            mean = "–" if found.mean is None else f"{found.mean:+.3f}"
            rows.append(f"| {name} | {found.clips} | {mean} | {figure_text(found.mean_absolute)} |")
    return rows if len(rows) > 2 else []


def decisions_table(groups: Mapping[str, GroupFigures], name: str = "variant") -> list[str]:
    """Return a Markdown table with a row per group and operating point; `name` heads the first column.

    First come the metrics with both thresholds, between which a clip is uncertain; then those with the FAKE
    threshold alone.
    """
    columns = (
        *("uncertain", "accuracy of the answers", "fakes called REAL", "real called FAKE"),
        *("accuracy without a REAL threshold", "precision", "recall", "F1"),
    )
    rows = [
        f"| {name} | operating point | {' | '.join(columns)} |",
        f"| --- | --- | {' | '.join(['---'] * len(columns))} |",
    ]
    for group, figures in groups.items():
        for point_name, found in figures.decisions.items():
            real_at_most = found.threshold if found.real_at_most is None else found.real_at_most
            values = (
                *(found.uncertain_share, found.answered_accuracy, found.missed, found.false_alarms),
                *(found.accuracy, found.precision, found.recall, found.f1),
            )
            point = OperatingPoint(point_name, real_at_most, found.threshold)
            cells = [figure_text(value) for value in values]
            rows.append(f"| {group} | {point} | {' | '.join(cells)} |")
    return rows


def figure_text(figure: Estimate | float | None) -> str:
    """Format a metric with 3 digits, with its interval where it has one."""
    if isinstance(figure, Estimate):
        if figure.value is None:
            return "–"
        if figure.low is None:  # an evaluation of an earlier release
            return f"{figure.value:.3f}"
        return f"{figure.value:.3f} [{figure_text(figure.low)}, {figure_text(figure.high)}]"
    return "–" if figure is None else f"{figure:.3f}"

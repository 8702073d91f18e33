"""Sections of a model card: an evaluation, and what the thresholds do to real and fake clips."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from textwrap import wrap
from typing import Any

from deepfake_triton.dataset_manifest import ALL, TRANSFER_HALVES
from deepfake_triton.training.evaluation.calibration.borders import BorderCell
from deepfake_triton.training.evaluation.calibration.report import cells_table
from deepfake_triton.training.evaluation.corruptions import AS_IS, COMPRESSED
from deepfake_triton.training.evaluation.report import (
    changes_table,
    decisions_table,
    figures_table,
    header_lines,
    mirroring_lines,
)
from deepfake_triton.training.evaluation.results import Evaluation


@dataclass(frozen=True)
class TitledEvaluation:
    """An evaluation under a title of its own: its split, else the name of its file."""

    title: str
    evaluated: Evaluation

    def shows(self, splits: Collection[str]) -> bool:
        """Tell whether clips of any of these splits may be among its own."""
        own = {clip.split for clip in self.evaluated.scores if clip.split}
        own |= set((self.evaluated.header.split or "").split(", "))
        if "transfer" in own:
            own |= set(TRANSFER_HALVES)
        return bool(own.intersection(splits)) or (ALL in own and bool(splits))


def titled(evaluations: Mapping[Path, Evaluation]) -> list[TitledEvaluation]:
    """Give each evaluation a title; those with a title in common are told apart by their files."""
    files = _distinct({path: f"{path.parent.name}/{path.name}".lstrip("/") for path in evaluations}, str)
    titles = _distinct(
        {path: evaluated.header.split or files[path] for path, evaluated in evaluations.items()},
        files.__getitem__,
    )
    return [TitledEvaluation(title, evaluations[path]) for path, title in titles.items()]


def _distinct(names: Mapping[Path, str], more: Callable[[Path], str]) -> dict[Path, str]:
    """Add `more` to the names that several paths have."""
    counts = Counter(names.values())
    return {path: name if counts[name] == 1 else f"{name} ({more(path)})" for path, name in names.items()}


def evaluation_lines(evaluated: Evaluation) -> list[str]:
    """Return the tables of an evaluation, each followed by an empty line."""
    lines = [*header_lines(replace(evaluated.header, normalized=None)), ""]
    tables = (
        ("variant", evaluated.by_corruption),
        ("manipulation", evaluated.by_manipulation),
        ("split", evaluated.by_split),
        ("condition", evaluated.by_condition),
    )
    for name, groups in tables:
        lines += [*figures_table(groups, name), ""] if groups else []
    changes = changes_table(evaluated.by_condition)
    lines += [*changes, ""] if changes else []
    if evaluated.real_at_most is not None:  # an evaluation of an earlier release has one threshold
        lines += [*decisions_table(evaluated.by_corruption), ""]
        for name, groups in tables[2:]:
            lines += [*decisions_table(groups, name), ""] if groups else []
    if evaluated.mirroring:
        lines += ["Mirror images of the clips:", "", *mirroring_lines(evaluated.mirroring), ""]
    return lines


def borders_lines(made_on: Mapping[str, Any], evaluations: Sequence[TitledEvaluation]) -> list[str]:
    """Return what the thresholds do to the clips they were chosen on, beside clips that chose nothing.

    `made_on` is the checkpoint's metadata on its thresholds; there are no lines where an earlier release
    wrote it. Evaluations of splits that chose the thresholds are left out.
    """
    if "cells" not in made_on:
        return []
    aims = made_on["aims"]
    lines = [
        "",
        "## Operating points",
        "",
        *wrap(
            "Aims on the clips that the thresholds were chosen on: of the real clips of each split, at most "
            f"{_percent(aims['conservative_alarms'])} FAKE at `conservative` and "
            f"{_percent(aims['balanced_alarms'])} at `balanced`, where at least "
            f"{_percent(aims['answered_clean'])} of the clips as they are and "
            f"{_percent(aims['answered_compressed'])} of the compressed ones are answered.",
            120,
        ),
        "",
        *cells_table(BorderCell(**cell) for cell in made_on["cells"]),
        "",
    ]
    lines += [f"- aim missed: {text}" for text in made_on["missed_aims"]] or ["- all aims are met there"]
    held_out = [one for one in evaluations if not one.shows(choosing_splits(made_on))]
    if held_out:
        lines += ["", "The same thresholds on clips of other splits, which chose nothing:"]
    for one in held_out:
        shown = {
            f"{one.title}, {name}": group
            for name, group in one.evaluated.by_corruption.items()
            if name in (AS_IS, *COMPRESSED)
        }
        lines += ["", *decisions_table(shown, "clips")]
    return lines


def choosing_splits(made_on: Mapping[str, Any]) -> set[str]:
    """Return the splits that the thresholds were chosen on, from the checkpoint's metadata on them."""
    return {cell["split"] for cell in made_on.get("cells", ())}


def _percent(share: float) -> str:
    return f"{100 * share:g} %"

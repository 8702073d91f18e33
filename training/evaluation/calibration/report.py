"""Tables of what thresholds do to the clips they were fitted to."""

from __future__ import annotations

from collections.abc import Iterable

from deepfake_triton.training.evaluation.calibration.borders import BorderCell
from deepfake_triton.training.evaluation.report import figure_text


def cells_table(cells: Iterable[BorderCell]) -> list[str]:
    """Return a Markdown table with a row per split, clean or compressed, and operating point."""
    columns = ("real called FAKE", "fakes called FAKE", "fakes called REAL", "uncertain")
    rows = [
        f"| clips | operating point | {' | '.join(columns)} |",
        f"| --- | --- | {' | '.join(['---'] * len(columns))} |",
    ]
    for cell in cells:
        kind = "compressed" if cell.compressed else "as they are"
        for name in cell.uncertain:
            values = (
                cell.real_called_fake[name],
                cell.fakes_found[name],
                cell.fakes_called_real[name],
                cell.uncertain[name],
            )
            figures = " | ".join(figure_text(value) for value in values)
            counts = f"{cell.real} real, {cell.fake} fake of {cell.people} people, {cell.scores} scores"
            rows.append(f"| {cell.split}, {kind}: {counts} | {name} | {figures} |")
    return rows

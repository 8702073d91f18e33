"""The curve of a training run as SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

PHASES = ("teacher", "backbone", "sequence")


def plot_curve(curve: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Loss and validation AUC over the steps, one column a phase."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 5.5), layout="constrained")
    phases = [phase for phase in PHASES if any(row["phase"] == phase for row in curve)]
    axes = figure.subplots(2, len(phases), sharex="col", squeeze=False)
    for column, phase in enumerate(phases):
        rows = [row for row in curve if row["phase"] == phase]
        steps = [row["step"] for row in rows]
        top, bottom = axes[0][column], axes[1][column]
        top.plot(steps, [row["loss"] for row in rows], label="training")
        top.plot(steps, [row["val_loss"] for row in rows], label="held-out people")
        top.set(title=phase, ylabel="cross-entropy")
        top.legend()
        bottom.plot(steps, [row["val_auc"] for row in rows], color="tab:green")
        bottom.set(xlabel="step", ylabel="AUC, held-out people")
        for axis in (top, bottom):
            axis.grid(alpha=0.3)
    figure.savefig(path, metadata={"Date": None})

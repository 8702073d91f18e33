"""Plot of a training curve as SVG."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from deepfake_triton.training.loop.run_state import CurvePoint

PHASES = ("teacher", "backbone", "sequence")


def plot_curve(curve: Sequence[CurvePoint], path: Path) -> None:
    """Plot loss and validation AUC over the steps, one column per phase."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 5.5), layout="constrained")
    phases = [phase for phase in PHASES if any(point.phase == phase for point in curve)]
    axes = figure.subplots(2, len(phases), sharex="col", squeeze=False)
    for column, phase in enumerate(phases):
        points = [point for point in curve if point.phase == phase]
        steps = [point.step for point in points]
        top, bottom = axes[0][column], axes[1][column]
        top.plot(steps, [point.loss for point in points], label="training")
        top.plot(steps, [point.val_loss for point in points], label="held-out people")
        top.set(title=phase, ylabel="cross-entropy")
        top.legend()
        bottom.plot(steps, [point.val_auc for point in points], color="tab:green")
        bottom.set(xlabel="step", ylabel="AUC, held-out people")
        for axis in (top, bottom):
            axis.grid(alpha=0.3)
    figure.savefig(path, metadata={"Date": None})

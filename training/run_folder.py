"""The folder of a training run: its settings, its curve, and the state from which it goes on after a kill."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from deepfake_triton.training.settings_file import require_same_settings

STATE_NAME = "state.pt"
CURVE_NAME = "curve.csv"
CURVE_COLUMNS = ("phase", "step", "loss", "val_loss", "val_auc", "learning_rate", "strength")


class RunFolder:
    """All files of one run; each is written whole or not at all."""

    def __init__(self, path: Path, settings: Mapping[str, Any]) -> None:
        """Open or begin a run. Raises DatasetError when the folder holds a run of other settings."""
        self.path = path
        require_same_settings(path, settings, "a run of other settings")

    def load_state(self) -> dict[str, Any] | None:
        """What `save_state` wrote last, or None at the start."""
        file = self.path / STATE_NAME
        if not file.is_file():
            return None
        state: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
        return state

    def save_state(self, state: Mapping[str, Any], curve: Sequence[Mapping[str, Any]]) -> None:
        """Keep the state, and the curve up to it."""
        partial = self.path / f".{STATE_NAME}.partial"
        torch.save(dict(state), partial)
        partial.replace(self.path / STATE_NAME)
        self.write_curve(curve)

    def write_curve(self, curve: Sequence[Mapping[str, Any]]) -> None:
        """The metrics so far as CSV."""
        partial = self.path / f".{CURVE_NAME}.partial"
        with partial.open("w", newline="") as file:
            writer = csv.DictWriter(file, CURVE_COLUMNS, lineterminator="\n", restval="")
            writer.writeheader()
            writer.writerows(curve)
        partial.replace(self.path / CURVE_NAME)

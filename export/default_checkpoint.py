"""The checkpoint that ships with the project, trained by `train`; MODEL_CARD.md tells what it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from deepfake_triton.errors import CheckpointError
from deepfake_triton.export.checkpoint import Checkpoint, checkpoint_from_file

DEFAULT_CHECKPOINT = Path(__file__).with_name("default_checkpoint.safetensors")


def default_checkpoint(overrides: Mapping[str, Any] | None = None) -> Checkpoint:
    """The shipped weights; with any fact overridden they are no longer what was measured, and so "custom".

    Raises CheckpointError when they are not installed.
    """
    if not DEFAULT_CHECKPOINT.is_file():
        raise CheckpointError(
            f"{DEFAULT_CHECKPOINT.name}: the default weights are not installed here; name a --checkpoint"
        )
    found = checkpoint_from_file(DEFAULT_CHECKPOINT, overrides)
    changed = any(value is not None for value in (overrides or {}).values())
    return found if changed else replace(found, weights="default")

"""The checkpoint that ships with the project, trained by `train` and described in MODEL_CARD.md."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from deepfake_triton.errors import CheckpointError
from deepfake_triton.models.checkpoints.checkpoint import Checkpoint, checkpoint_from_file
from deepfake_triton.models.metadata_overrides import NO_OVERRIDES, MetadataOverrides

DEFAULT_CHECKPOINT = Path(__file__).with_name("default_checkpoint.safetensors")


def default_checkpoint(overrides: MetadataOverrides = NO_OVERRIDES) -> Checkpoint:
    """Load the shipped checkpoint; with any metadata overridden its weights are called "custom".

    Raises CheckpointError when it is not installed.
    """
    if not DEFAULT_CHECKPOINT.is_file():
        raise CheckpointError(
            f"{DEFAULT_CHECKPOINT.name}: the default weights are not installed here; name a --checkpoint"
        )
    checkpoint = checkpoint_from_file(DEFAULT_CHECKPOINT, overrides)
    return replace(checkpoint, weights="default") if overrides == NO_OVERRIDES else checkpoint

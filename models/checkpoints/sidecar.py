"""Metadata of a safetensors checkpoint: from the file itself and from the JSON file beside it."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors import SafetensorError, safe_open

from deepfake_triton.errors import CheckpointError


def read_metadata(checkpoint: Path) -> dict[str, str]:
    """Read the metadata of a safetensors file, values as text.

    Values measured after the file was written, such as thresholds, may stand beside it in `NAME.facts.json`,
    an object with fields of `ModelMetadata`: they take precedence, and the weights keep their hash. Raises
    CheckpointError.
    """
    try:
        with safe_open(checkpoint, framework="np") as file:
            metadata = dict(file.metadata() or {})
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{checkpoint}: cannot be read as a checkpoint: {error}") from error
    return {**metadata, **_read_sidecar(checkpoint.with_suffix(".facts.json"))}


def _read_sidecar(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    try:
        values = json.loads(path.read_text())
        return {key: value if isinstance(value, str) else json.dumps(value) for key, value in values.items()}
    except (OSError, ValueError, AttributeError) as error:
        raise CheckpointError(
            f"{path}: got {type(error).__name__}: {error}; expected a JSON object of checkpoint metadata"
        ) from error

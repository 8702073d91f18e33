"""Checkpoints in parts, for places that take no large files; `cat FILE.part-* > FILE` joins them."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from deepfake_triton.contracts import FEATURE_SIZE
from deepfake_triton.files.atomic import atomic_write
from deepfake_triton.models.checkpoints.writer import write_checkpoint
from deepfake_triton.models.metadata import ModelMetadata
from deepfake_triton.models.networks import SequenceClassifier
from deepfake_triton.models.resnext import ResNeXt50

AVERAGE_NAME = "average.safetensors"
MIB = 2**20
_BLOCK_BYTES = MIB
_HIDDEN_SIZE = 8


def write_parts(file: Path, part_bytes: int) -> list[Path]:
    """Write the content of `file` beside it in parts of at most `part_bytes`, and return them.

    Parts of an earlier, larger content are removed.
    """
    parts: list[Path] = []
    with file.open("rb") as source:
        while True:
            part = file.with_name(f"{file.name}.part-{len(parts):03d}")
            left = part_bytes
            block = source.read(min(_BLOCK_BYTES, left))
            if not block:
                break
            with atomic_write(part) as partial, partial.open("wb") as target:
                while block:
                    target.write(block)
                    left -= len(block)
                    block = source.read(min(_BLOCK_BYTES, left)) if left else b""
            parts.append(part)
    remove_parts(file, keep=len(parts))
    return parts


def remove_parts(file: Path, *, keep: int = 0) -> None:
    """Remove the parts of a file from number `keep` on."""
    for part in sorted(file.parent.glob(f"{file.name}.part-*"))[keep:]:
        part.unlink()


def save_average(folder: Path, backbone: ResNeXt50, metadata: ModelMetadata, *, part_bytes: int) -> None:
    """Save the averaged backbone of a run that is not over, in parts, for `train --from`.

    Its sequence head is all zeros: it answers 0.5 to everything.
    """
    classifier = SequenceClassifier(
        nn.LSTM(FEATURE_SIZE, _HIDDEN_SIZE, batch_first=True), nn.Linear(_HIDDEN_SIZE, 2), metadata
    )
    with torch.no_grad():
        for value in classifier.parameters():
            value.zero_()
    file = folder / AVERAGE_NAME
    write_checkpoint(
        file,
        backbone=backbone,
        classifier=classifier,
        metadata=metadata,
        provenance={"sequence_head": "not trained"},
    )
    write_parts(file, part_bytes)
    file.unlink()

"""Write trained networks to one safetensors file in FP16, with all metadata that serving needs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from deepfake_triton.files.atomic import atomic_write
from deepfake_triton.models.metadata import ModelMetadata
from deepfake_triton.models.networks import SequenceClassifier
from deepfake_triton.models.resnext import ResNeXt50

ARCHITECTURE = "resnext50_32x4d+lstm"


def write_checkpoint(
    path: Path,
    *,
    backbone: ResNeXt50,
    classifier: SequenceClassifier,
    metadata: ModelMetadata,
    provenance: Mapping[str, Any],
) -> None:
    """Write a file that `export --checkpoint` reads; `provenance` adds the training data and command."""
    state: dict[str, torch.Tensor] = {}
    for prefix, module in (("backbone", backbone), ("lstm", classifier.lstm), ("linear1", classifier.head)):
        for key, value in module.state_dict().items():
            if not key.endswith("num_batches_tracked"):
                state[f"{prefix}.{key}"] = value.detach().cpu().half().contiguous()
    values = {"architecture": ARCHITECTURE, **asdict(metadata), **provenance}
    texts = {key: value if isinstance(value, str) else json.dumps(value) for key, value in values.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as partial:
        save_file(state, partial, texts)

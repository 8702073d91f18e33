"""Trained networks to one safetensors file in half precision, with all facts that serving needs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from deepfake_triton.export.backbone import ResNeXt50
from deepfake_triton.export.facts import ModelFacts
from deepfake_triton.export.networks import SequenceClassifier

ARCHITECTURE = "resnext50_32x4d+lstm"


def write_checkpoint(
    path: Path,
    backbone: ResNeXt50,
    classifier: SequenceClassifier,
    facts: ModelFacts,
    provenance: Mapping[str, Any],
) -> None:
    """Write what `export --checkpoint` reads; `provenance` says by which data and command it was trained."""
    state: dict[str, torch.Tensor] = {}
    for prefix, module in (("backbone", backbone), ("lstm", classifier.lstm), ("linear1", classifier.head)):
        for key, value in module.state_dict().items():
            if not key.endswith("num_batches_tracked"):
                state[f"{prefix}.{key}"] = value.detach().cpu().half().contiguous()
    values = {"architecture": ARCHITECTURE, **asdict(facts), **provenance}
    metadata = {key: value if isinstance(value, str) else json.dumps(value) for key, value in values.items()}
    partial = path.with_name(f".{path.name}.partial")
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(state, partial, metadata)
    partial.replace(path)

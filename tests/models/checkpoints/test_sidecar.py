from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from deepfake_triton.errors import CheckpointError
from deepfake_triton.models.checkpoints.sidecar import read_metadata
from deepfake_triton.models.metadata import metadata_from_mapping

pytestmark = pytest.mark.fast

METADATA = {
    "temporal": "sequence",
    "pooling": "mean",
    "label_order": "real-fake",
    "channel_order": "rgb",
    "crop_side": "128",
}


def test_values_measured_later_stand_beside_the_weights(tmp_path: Path) -> None:
    path, beside = tmp_path / "own.safetensors", tmp_path / "own.facts.json"
    save_file({"x": torch.zeros(1)}, path, metadata=METADATA)
    assert metadata_from_mapping(read_metadata(path)).real_at_most == {}
    beside.write_text('{"real_at_most": {"default": 0.25}, "temporal": "per-frame"}')
    metadata = metadata_from_mapping(read_metadata(path))
    assert (metadata.real_at_most, metadata.temporal, metadata.pooling) == (
        {"default": 0.25},
        "per-frame",
        "mean",
    )
    beside.write_text("[]")
    with pytest.raises(CheckpointError, match=r"own\.facts\.json: .*expected a JSON object"):
        read_metadata(path)

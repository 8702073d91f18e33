"""Metadata of a checkpoint: parsed from text, refused when out of range."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest

from deepfake_triton.errors import CheckpointError
from deepfake_triton.models.metadata import ModelMetadata, metadata_from_mapping
from deepfake_triton.models.metadata_overrides import MetadataOverrides
from deepfake_triton.preprocessing.crops import CropRule

pytestmark = pytest.mark.fast

STORED = {
    "temporal": "sequence",
    "pooling": "mean",
    "label_order": "real-fake",
    "channel_order": "rgb",
    "crop_side": "128",
    "crop_margin": "0.15",
    "operating_points": json.dumps({"default": 0.6, "conservative": 0.9}),
}


def test_text_and_plain_values_are_the_same_metadata() -> None:
    metadata = metadata_from_mapping({**STORED, "mean": "[0.5, 0.5, 0.5]", "trained_on": "anything"})
    assert metadata.mean == (0.5, 0.5, 0.5) and metadata.crop_rule == CropRule(128, 0.15)
    assert metadata.operating_points == {"default": 0.6, "conservative": 0.9}
    assert metadata_from_mapping(asdict(metadata)) == metadata


def test_overrides_of_none_leave_a_field() -> None:
    metadata = ModelMetadata().with_overrides(MetadataOverrides(pooling="mean", crop_side=None))
    assert (metadata.pooling, metadata.crop_side) == ("mean", 112)


def test_missing_keys_are_named() -> None:
    with pytest.raises(
        CheckpointError, match="pooling, label_order, channel_order, crop_side missing; got te"
    ):
        metadata_from_mapping({"temporal": "sequence"})


@pytest.mark.parametrize(
    "change",
    [
        {"temporal": "sideways"},
        {"crop_side": "7"},
        {"crop_side": "112.5"},
        {"std": "[0, 1, 1]"},
        {"mean": '["a", "b", "c"]'},
        {"calibration_scale": "-1"},
        {"calibration_scale": "NaN"},
        {"calibration_shift": "abc"},
        {"operating_points": '{"a": 2}'},
        {"operating_points": "[]"},
        {"real_at_most": "0.3"},
        {"real_at_most": '{"default": 0.61}'},
        {"real_at_most": '{"lenient": 0.1}'},
    ],
    ids=str,
)
def test_metadata_out_of_range_is_refused(change: dict[str, str]) -> None:
    with pytest.raises(CheckpointError, match=f"{next(iter(change))}: got"):
        metadata_from_mapping({**STORED, **change})

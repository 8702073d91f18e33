from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from support import PublishedModel

from deepfake_triton.errors import CheckpointError
from deepfake_triton.models.checkpoints.checkpoint import checkpoint_from_file
from deepfake_triton.models.metadata_overrides import MetadataOverrides
from deepfake_triton.models.random_weights import UNTRAINED_METADATA, untrained_checkpoint
from deepfake_triton.models.resnext import ResNeXt50

pytestmark = pytest.mark.compute

METADATA = {
    "temporal": "sequence",
    "pooling": "mean",
    "label_order": "real-fake",
    "channel_order": "rgb",
    "crop_side": "128",
    "crop_margin": "0.15",
    "calibration_scale": "1.5",
    "operating_points": json.dumps({"default": 0.6, "conservative": 0.9}),
    "architecture": "resnext50_32x4d+lstm",
}


@pytest.fixture(scope="module")
def own_state() -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    lstm = torch.nn.LSTM(2048, 64, batch_first=True)
    state = {f"backbone.{key}": value for key, value in ResNeXt50().state_dict().items()}
    state |= {f"lstm.{key}": value for key, value in lstm.state_dict().items()}
    return {**state, "linear1.weight": torch.randn(2, 64), "linear1.bias": torch.zeros(2)}


def test_the_published_layout_is_recognized_with_all_its_surprises(published_checkpoint: Path) -> None:
    checkpoint = checkpoint_from_file(published_checkpoint)
    metadata = checkpoint.metadata
    assert checkpoint.layout == "published" and checkpoint.weights == "custom"
    assert (metadata.temporal, metadata.pooling, metadata.label_order) == ("per-frame", "last", "fake-real")
    assert (metadata.channel_order, metadata.crop_side, metadata.crop_margin) == ("bgr", 112, 0.0)
    assert metadata.mean == (0.485, 0.456, 0.406) and metadata.std == (0.229, 0.224, 0.225)
    assert not checkpoint.classifier.lstm.bias
    assert len(checkpoint.sha256) == 64


@pytest.mark.parametrize("wrap", ["bare", "model_state_dict", "data_parallel", "lightning_of_compiled"])
def test_wrapped_state_dicts_are_the_same_checkpoint(
    published_model: PublishedModel, tmp_path: Path, wrap: str
) -> None:
    state: Any = published_model.state_dict()
    if wrap == "data_parallel":
        state = {f"module.{key}": value for key, value in state.items()}
    elif wrap == "lightning_of_compiled":
        state = {"state_dict": {f"net._orig_mod.module.{key}": value for key, value in state.items()}}
    elif wrap != "bare":
        state = {wrap: state, "epoch": 3}
    path = tmp_path / "model.pt"
    torch.save(state, path)
    checkpoint = checkpoint_from_file(path)
    first = published_model.model.state_dict()["0.weight"]
    assert torch.equal(checkpoint.extractor.backbone.conv1.weight, first)


def test_own_checkpoints_carry_their_metadata(own_state: dict[str, torch.Tensor], tmp_path: Path) -> None:
    path = tmp_path / "own.safetensors"
    save_file({key: value.half().contiguous() for key, value in own_state.items()}, path, metadata=METADATA)
    checkpoint = checkpoint_from_file(path)
    metadata = checkpoint.metadata
    assert checkpoint.layout == "deepfake-triton"
    assert (metadata.temporal, metadata.pooling, metadata.crop_side, metadata.crop_margin) == (
        "sequence",
        "mean",
        128,
        0.15,
    )
    assert metadata.calibration_scale == 1.5 and metadata.operating_points["conservative"] == 0.9
    assert checkpoint.classifier.lstm.hidden_size == 64
    assert checkpoint.extractor.backbone.conv1.weight.dtype == torch.float32
    assert checkpoint_from_file(path, MetadataOverrides(pooling="last")).metadata.pooling == "last"


def test_own_checkpoints_may_be_torch_files(own_state: dict[str, torch.Tensor], tmp_path: Path) -> None:
    path = tmp_path / "own.pt"
    torch.save({"state_dict": own_state, "metadata": {**METADATA, "crop_side": 128}}, path)
    assert checkpoint_from_file(path).metadata.crop_side == 128


def test_biases_can_be_dropped_and_required(
    own_state: dict[str, torch.Tensor], published_checkpoint: Path, tmp_path: Path
) -> None:
    path = tmp_path / "own.pt"
    torch.save({"state_dict": own_state, "metadata": METADATA}, path)
    assert checkpoint_from_file(path).classifier.lstm.bias
    assert not checkpoint_from_file(path, lstm_bias="drop").classifier.lstm.bias
    with pytest.raises(CheckpointError, match="--lstm-bias require"):
        checkpoint_from_file(published_checkpoint, lstm_bias="require")


def test_a_published_layout_with_biases_asks_what_time_is(
    published_model: PublishedModel, tmp_path: Path
) -> None:
    state = dict(published_model.state_dict())
    state["lstm.bias_ih_l0"] = state["lstm.bias_hh_l0"] = torch.zeros(8192)
    path = tmp_path / "biased.pt"
    torch.save(state, path)
    with pytest.raises(CheckpointError, match="--temporal"):
        checkpoint_from_file(path)
    assert checkpoint_from_file(path, MetadataOverrides(temporal="sequence")).metadata.temporal == "sequence"


def unreadable(path: Path, state: dict[str, Any]) -> None:
    match path.stem:
        case "missing":
            pass
        case "text":
            path.write_text("no checkpoint\n")
        case "cut":
            torch.save(state, path)
            path.write_bytes(path.read_bytes()[:100_000])
        case "whole_module":
            torch.save(torch.nn.Linear(2, 2), path)
        case "a_list":
            torch.save([1, 2, 3], path)
        case "other_network":
            torch.save({"conv.weight": torch.zeros(1)}, path)
        case "cut_safetensors":
            path.write_bytes(b"\x10\x00\x00\x00\x00\x00\x00\x00{")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("missing.pt", "no such file"),
        ("text.pt", "checkpoint"),
        ("cut.pt", "cut, its end is missing"),
        ("whole_module.pt", "state_dict"),
        ("a_list.pt", "state_dict"),
        ("other_network.pt", "unknown layout"),
        ("cut_safetensors.safetensors", "cannot be read"),
    ],
)
def test_what_is_no_checkpoint_is_refused_by_name(
    own_state: dict[str, torch.Tensor], tmp_path: Path, *, name: str, says: str
) -> None:
    path = tmp_path / name
    unreadable(path, own_state)
    with pytest.raises(CheckpointError, match=says) as caught:
        checkpoint_from_file(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("legacy", [False, True])
def test_a_checkpoint_cut_anywhere_is_refused(tmp_path: Path, legacy: bool) -> None:
    path = tmp_path / "cut.pt"
    torch.save({"conv.weight": torch.zeros(50)}, path, _use_new_zipfile_serialization=not legacy)
    whole = path.read_bytes()
    for size in (0, 1, 15, 18, 100, 300, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(CheckpointError, match=r"cut\.pt"):
            checkpoint_from_file(path)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"backbone.layer1.0.conv1.weight": None}, "missing"),
        ({"backbone.layer1.0.conv1.weight": torch.zeros(3, 3)}, "layer1.0.conv1.weight"),
        ({"backbone.extra.weight": torch.zeros(3)}, "unexpected"),
        ({"lstm.weight_ih_l0": torch.zeros(256, 512)}, "lstm.weight_ih_l0"),
        ({"lstm.weight_ih_l0_reverse": torch.zeros(256, 2048)}, "bidirectional"),
        ({"linear1.weight": torch.zeros(3, 64)}, "linear1"),
        ({"linear1.bias": torch.tensor([0.0, float("nan")])}, "linear1.bias: 1 of 2 values are NaN"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_wrong_weights_are_named(
    own_state: dict[str, torch.Tensor], tmp_path: Path, *, change: dict[str, Any], says: str
) -> None:
    changed = {key: value for key, value in {**own_state, **change}.items() if value is not None}
    path = tmp_path / "wrong.pt"
    torch.save({"state_dict": changed, "metadata": METADATA}, path)
    with pytest.raises(CheckpointError, match=says):
        checkpoint_from_file(path)


def test_metadata_out_of_range_is_refused_with_the_files_name(
    own_state: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    path = tmp_path / "odd.pt"
    torch.save({"state_dict": own_state, "metadata": {**METADATA, "temporal": "sideways"}}, path)
    with pytest.raises(CheckpointError, match="temporal: got 'sideways'") as caught:
        checkpoint_from_file(path)
    assert str(path) in str(caught.value)


def test_untrained_weights_are_the_same_every_time() -> None:
    first, second = untrained_checkpoint(UNTRAINED_METADATA), untrained_checkpoint(UNTRAINED_METADATA)
    assert first.sha256 == second.sha256 and first.weights == "untrained"
    # PCG64 and no platform's own arithmetic: the same on every machine.
    assert first.sha256.startswith("7c22d0d8")

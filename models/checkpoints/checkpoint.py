"""PyTorch checkpoints: read without running code, identified by their keys, loaded into networks."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from torch import Tensor, nn

from deepfake_triton.contracts import FEATURE_SIZE
from deepfake_triton.errors import CheckpointError
from deepfake_triton.files.hashing import sha256_of_file
from deepfake_triton.models.checkpoints.state_dict import clean_state_dict
from deepfake_triton.models.checkpoints.weights_file import read_weights
from deepfake_triton.models.metadata import PUBLISHED, ModelMetadata, metadata_from_mapping
from deepfake_triton.models.metadata_overrides import NO_OVERRIDES, MetadataOverrides
from deepfake_triton.models.networks import FeatureExtractor, SequenceClassifier
from deepfake_triton.models.resnext import ResNeXt50

LSTMBias = Literal["auto", "drop", "require"]
Weights = Literal["default", "untrained", "custom"]
Layout = Literal["published", "deepfake-triton"]

# The published code wraps torchvision's children in nn.Sequential, which numbers them.
_PUBLISHED_CHILDREN = {"0": "conv1", "1": "bn1", "4": "layer1", "5": "layer2", "6": "layer3", "7": "layer4"}


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """Networks ready to run (eval mode, float32), their metadata and their origin.

    `source` is the file name, `sha256` the file's digest; for untrained weights, their seed and their digest.
    """

    extractor: FeatureExtractor
    classifier: SequenceClassifier
    metadata: ModelMetadata
    weights: Weights
    layout: Layout
    source: str
    sha256: str


def checkpoint_from_file(
    path: Path, overrides: MetadataOverrides = NO_OVERRIDES, lstm_bias: LSTMBias = "auto"
) -> Checkpoint:
    """Load a checkpoint from safetensors or from any file that `torch.load(weights_only=True)` reads.

    `overrides` replaces fields of the stored `ModelMetadata`. Raises CheckpointError for
    an unreadable file, an unknown layout, or weights that no network can run on.
    """
    stored = read_weights(path)
    try:
        state = clean_state_dict(stored.tensors, path)
        metadata, layout = _identify(state, stored.metadata, overrides)
        state = _rename_keys(state, lstm_bias)
        extractor, classifier = networks_from_state(state, metadata)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error
    return Checkpoint(
        extractor=extractor,
        classifier=classifier,
        metadata=metadata,
        weights="custom",
        layout=layout,
        source=path.name,
        sha256=sha256_of_file(path),
    )


def networks_from_state(
    state: Mapping[str, Tensor], metadata: ModelMetadata
) -> tuple[FeatureExtractor, SequenceClassifier]:
    """Build both networks from the keys `backbone.*` (torchvision's names), `lstm.*` and `linear1.*`.

    Raises CheckpointError for missing, unexpected or misshapen weights.
    """
    backbone = ResNeXt50()
    _load(backbone, state, "backbone")
    lstm = _build_lstm(state)
    _load(lstm, state, "lstm")
    head = nn.Linear(lstm.hidden_size, 2)
    _load(head, state, "linear1")
    extractor = FeatureExtractor(backbone, metadata).eval().requires_grad_(False)
    return extractor, SequenceClassifier(lstm, head, metadata).eval().requires_grad_(False)


def _identify(
    state: Mapping[str, Tensor], stored: Mapping[str, Any], overrides: MetadataOverrides
) -> tuple[ModelMetadata, Layout]:
    """Return the checkpoint's metadata and its layout. Raises CheckpointError."""
    published = "model.0.weight" in state
    if not published and "backbone.conv1.weight" not in state:
        raise CheckpointError(
            f"unknown layout: got keys {', '.join(sorted(state)[:4]) or 'none'} …, expected model.0.weight … "
            "(published ResNeXt+LSTM) or backbone.conv1.weight … (this project's)"
        )
    if any("_reverse" in key for key in state):
        raise CheckpointError("bidirectional LSTM: not supported; train with bidirectional=False")
    if "temporal" in stored:
        return metadata_from_mapping(stored).with_overrides(overrides), "deepfake-triton"
    if not published:
        return metadata_from_mapping({**stored, **overrides.given()}), "deepfake-triton"
    if "lstm.bias_ih_l0" in state and overrides.temporal is None:
        raise CheckpointError(
            "the published layout, but its LSTM has biases, so it was trained by other code: "
            "pass --temporal per-frame or --temporal sequence"
        )
    return PUBLISHED.with_overrides(overrides), "published"


def _rename_keys(state: Mapping[str, Tensor], lstm_bias: LSTMBias) -> dict[str, Tensor]:
    renamed = {}
    for key, value in state.items():
        match = re.match(r"model\.(\d)\.(.+)", key)
        if match and match[1] in _PUBLISHED_CHILDREN:
            key = f"backbone.{_PUBLISHED_CHILDREN[match[1]]}.{match[2]}"  # noqa: PLW2901
        if not key.startswith("backbone.fc."):
            renamed[key] = value
    biases = [key for key in renamed if key.startswith("lstm.bias")]
    if lstm_bias == "require" and not biases:
        raise CheckpointError("the LSTM has no biases, but --lstm-bias require asks for them")
    if lstm_bias == "drop":
        renamed = {key: value for key, value in renamed.items() if key not in biases}
    return renamed


def _build_lstm(state: Mapping[str, Tensor]) -> nn.LSTM:
    """Build an LSTM of the sizes that the weights have."""
    first = state.get("lstm.weight_ih_l0")
    if first is None or first.ndim != 2 or first.shape[0] % 4 or first.shape[1] != FEATURE_SIZE:
        got = "none" if first is None else list(first.shape)
        raise CheckpointError(f"lstm.weight_ih_l0: got {got}, expected [4 * hidden, {FEATURE_SIZE}]")
    layers = sum(key.startswith("lstm.weight_ih_l") for key in state)
    bias = "lstm.bias_ih_l0" in state
    return nn.LSTM(FEATURE_SIZE, first.shape[0] // 4, layers, bias=bias, batch_first=True)


def _load(module: nn.Module, state: Mapping[str, Tensor], prefix: str) -> None:
    own = {key[len(prefix) + 1 :]: value for key, value in state.items() if key.startswith(prefix + ".")}
    try:
        result = module.load_state_dict(own, strict=False)
    except RuntimeError as error:
        shapes = str(error).splitlines()[1:2]
        raise CheckpointError(f"{prefix}: {' '.join(shapes).strip() or error}") from error
    missing = [key for key in result.missing_keys if not key.endswith("num_batches_tracked")]
    if missing or result.unexpected_keys:
        raise CheckpointError(
            f"{prefix}: missing {missing[:3] or 'none'}, unexpected {result.unexpected_keys[:3] or 'none'}"
        )

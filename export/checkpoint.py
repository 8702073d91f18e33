"""PyTorch checkpoints: read without running code, recognised by their keys, built into networks."""

from __future__ import annotations

import hashlib
import pickle
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from deepfake_triton.contracts import FEATURE_SIZE
from deepfake_triton.errors import CheckpointError
from deepfake_triton.export.backbone import ResNeXt50
from deepfake_triton.export.facts import PUBLISHED, ModelFacts, facts_from_metadata
from deepfake_triton.export.networks import FeatureExtractor, SequenceClassifier

LSTMBias = Literal["auto", "drop", "require"]
Weights = Literal["default", "untrained", "custom"]

# The published code wraps torchvision's children in nn.Sequential, which numbers them.
_PUBLISHED_CHILDREN = {"0": "conv1", "1": "bn1", "4": "layer1", "5": "layer2", "6": "layer3", "7": "layer4"}
# What torch.load raises for files that were cut or are something else.
_UNREADABLE = (
    *(OSError, RuntimeError, EOFError, LookupError, ValueError, TypeError, AttributeError, AssertionError),
    struct.error,
)
_STATE_DICT_KEYS = ("state_dict", "model_state_dict", "model")


@dataclass(frozen=True)
class Checkpoint:
    """Networks ready to run (eval mode, float32), and where they came from."""

    extractor: FeatureExtractor
    classifier: SequenceClassifier
    facts: ModelFacts
    weights: Weights
    layout: str
    source: str
    sha256: str


def checkpoint_from_file(
    path: Path, overrides: Mapping[str, Any] | None = None, lstm_bias: LSTMBias = "auto"
) -> Checkpoint:
    """Read a `.safetensors` file, or anything that `torch.load(weights_only=True)` reads.

    `overrides` replaces single facts (fields of `ModelFacts`); None values leave them. Raises
    CheckpointError when the file is unreadable or its layout is unknown.
    """
    state, metadata = _read(path)
    state = {re.sub(r"^(module|_orig_mod)\.", "", key): value.float() for key, value in state.items()}
    try:
        facts, layout = _recognised(state, metadata, overrides or {})
        state = _canonical(state, lstm_bias)
        extractor, classifier = networks_from_state(state, facts)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return Checkpoint(extractor, classifier, facts, "custom", layout, path.name, digest)


def networks_from_state(
    state: Mapping[str, Tensor], facts: ModelFacts
) -> tuple[FeatureExtractor, SequenceClassifier]:
    """Networks from the canonical keys `backbone.*` (torchvision's names), `lstm.*` and `linear1.*`."""
    backbone = ResNeXt50()
    _load(backbone, state, "backbone")
    lstm = _lstm_like(state)
    _load(lstm, state, "lstm")
    head = nn.Linear(lstm.hidden_size, 2)
    _load(head, state, "linear1")
    extractor = FeatureExtractor(backbone, facts).eval().requires_grad_(False)
    return extractor, SequenceClassifier(lstm, head, facts).eval().requires_grad_(False)


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    try:
        if path.suffix == ".safetensors":
            with safe_open(path, framework="pt") as file:
                return {key: file.get_tensor(key) for key in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: no such file") from error
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path}: holds more than tensors, or is no checkpoint; save its state_dict() and export that "
            f"({_first_line(error)})"
        ) from error
    except (*_UNREADABLE, SafetensorError) as error:
        raise CheckpointError(f"{path}: cannot be read as a checkpoint: {_first_line(error)}") from error
    return _unwrapped(path, content)


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


def _unwrapped(path: Path, content: object) -> tuple[dict[str, Tensor], dict[str, Any]]:
    if not isinstance(content, Mapping):
        raise CheckpointError(f"{path}: got a {type(content).__name__}, expected a state_dict")
    metadata = content.get("metadata")
    inner = next((content[key] for key in _STATE_DICT_KEYS if isinstance(content.get(key), Mapping)), content)
    tensors = {str(key): value for key, value in inner.items() if isinstance(value, Tensor)}
    return tensors, dict(metadata) if isinstance(metadata, Mapping) else {}


def _recognised(
    state: Mapping[str, Tensor], metadata: Mapping[str, Any], overrides: Mapping[str, Any]
) -> tuple[ModelFacts, str]:
    """The facts of the checkpoint, and the layout's name."""
    published = "model.0.weight" in state
    if not published and "backbone.conv1.weight" not in state:
        raise CheckpointError(
            f"unknown layout: got keys {', '.join(sorted(state)[:4]) or 'none'} …, expected model.0.weight … "
            "(published ResNeXt+LSTM) or backbone.conv1.weight … (this project's)"
        )
    if any("_reverse" in key for key in state):
        raise CheckpointError("bidirectional LSTM: not supported; train with bidirectional=False")
    if "temporal" in metadata:
        return facts_from_metadata(metadata).overridden(overrides), "deepfake-triton"
    if not published:
        return facts_from_metadata({**metadata, **_given(overrides)}).overridden(overrides), "deepfake-triton"
    if "lstm.bias_ih_l0" in state and overrides.get("temporal") is None:
        raise CheckpointError(
            "the published layout, but its LSTM has biases, so it was trained by other code: "
            "say --temporal per-frame or --temporal sequence"
        )
    return PUBLISHED.overridden(overrides), "published"


def _given(overrides: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in overrides.items() if value is not None}


def _canonical(state: Mapping[str, Tensor], lstm_bias: LSTMBias) -> dict[str, Tensor]:
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


def _lstm_like(state: Mapping[str, Tensor]) -> nn.LSTM:
    """An LSTM of the sizes that the weights show."""
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

"""Random weights to try the whole path without a trained checkpoint; their verdicts mean nothing."""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from deepfake_triton.contracts import FEATURE_SIZE
from deepfake_triton.models.checkpoints.checkpoint import Checkpoint, networks_from_state
from deepfake_triton.models.metadata import ModelMetadata
from deepfake_triton.models.resnext import ResNeXt50

SEED = 20_26
LSTM_HIDDEN_SIZE = 512
UNTRAINED_METADATA = ModelMetadata(temporal="sequence", label_order="real-fake", channel_order="rgb")


def untrained_checkpoint(metadata: ModelMetadata) -> Checkpoint:
    """Return a checkpoint of random weights, equal on every machine: PCG64, scaled after He et al. (2015)."""
    generator = np.random.default_rng(SEED)
    digest = hashlib.sha256()
    state: dict[str, Tensor] = {}
    for key, shape in _shapes().items():
        values = _draw(key, shape, generator)
        digest.update(values.tobytes())
        state[key] = torch.from_numpy(values)
    extractor, classifier = networks_from_state(state, metadata)
    return Checkpoint(
        extractor=extractor,
        classifier=classifier,
        metadata=metadata,
        weights="untrained",
        layout="deepfake-triton",
        source=f"untrained, seed {SEED}",
        sha256=digest.hexdigest(),
    )


def _shapes() -> dict[str, tuple[int, ...]]:
    """Return the shape of every parameter and buffer, in the order in which they are drawn."""
    tensors = {f"backbone.{key}": value for key, value in ResNeXt50().state_dict().items()}
    lstm = torch.nn.LSTM(FEATURE_SIZE, LSTM_HIDDEN_SIZE, batch_first=True)
    tensors |= {f"lstm.{key}": value for key, value in lstm.state_dict().items()}
    shapes = {
        key: tuple(value.shape) for key, value in tensors.items() if not key.endswith("num_batches_tracked")
    }
    return {**shapes, "linear1.weight": (2, LSTM_HIDDEN_SIZE), "linear1.bias": (2,)}


def _draw(key: str, shape: tuple[int, ...], generator: np.random.Generator) -> npt.NDArray[np.float32]:
    if key.endswith("running_var"):
        return np.ones(shape, np.float32)
    if key.endswith("bn3.weight"):  # half a branch keeps 16 residual sums in range
        return np.full(shape, 0.5, np.float32)
    if len(shape) == 1 and key.endswith("weight"):
        return np.ones(shape, np.float32)
    if len(shape) == 1:
        return np.zeros(shape, np.float32)
    fan_in = int(np.prod(shape[1:]))
    gain = 2.0 if key.startswith("backbone") else 1.0
    return (generator.standard_normal(shape, np.float32) * np.float32((gain / fan_in) ** 0.5)).astype(
        np.float32
    )

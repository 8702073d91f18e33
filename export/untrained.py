"""Weights for trying the whole path before a trained checkpoint is at hand: their verdicts mean nothing."""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from deepfake_triton.contracts import FEATURE_SIZE
from deepfake_triton.export.backbone import ResNeXt50
from deepfake_triton.export.checkpoint import Checkpoint, networks_from_state
from deepfake_triton.export.facts import ModelFacts

SEED = 20_26
HIDDEN_SIZE = 512
UNTRAINED_FACTS = ModelFacts(temporal="sequence", label_order="real-fake", channel_order="rgb")


def untrained_checkpoint(facts: ModelFacts) -> Checkpoint:
    """The same random weights on every machine: numpy's PCG64, He-scaled, so that features stay lively."""
    generator = np.random.default_rng(SEED)
    digest = hashlib.sha256()
    state: dict[str, Tensor] = {}
    for key, like in _shapes().items():
        values = _values(key, tuple(like.shape), generator)
        digest.update(values.tobytes())
        state[key] = torch.from_numpy(values)
    extractor, classifier = networks_from_state(state, facts)
    source = f"untrained, seed {SEED}"
    return Checkpoint(
        extractor, classifier, facts, "untrained", "deepfake-triton", source, digest.hexdigest()
    )


def _shapes() -> dict[str, Tensor]:
    shapes = {f"backbone.{key}": value for key, value in ResNeXt50().state_dict().items()}
    lstm = torch.nn.LSTM(FEATURE_SIZE, HIDDEN_SIZE, batch_first=True)
    shapes |= {f"lstm.{key}": value for key, value in lstm.state_dict().items()}
    shapes["linear1.weight"] = torch.empty(2, HIDDEN_SIZE)
    shapes["linear1.bias"] = torch.empty(2)
    return {key: value for key, value in shapes.items() if not key.endswith("num_batches_tracked")}


def _values(key: str, shape: tuple[int, ...], generator: np.random.Generator) -> npt.NDArray[np.float32]:
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

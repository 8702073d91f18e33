"""Runners of a checkpoint's own networks in torch: the reference that exported graphs are compared with."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from deepfake_triton.contracts import FAKE_PROBABILITY, FEATURES, LOGITS, faces_spec
from deepfake_triton.models.checkpoints.checkpoint import Checkpoint
from deepfake_triton.models.runtimes.base import Feed, Runner
from deepfake_triton.models.stages import Stages


class TorchRunner:
    """A torch module on the CPU with one input tensor; `outputs` name what it returns, in its order."""

    def __init__(self, module: nn.Module, input_name: str, outputs: Sequence[str]) -> None:
        self.module, self.input_name, self.outputs = module, input_name, outputs

    @property
    def runtime(self) -> str:
        """Name and version, such as `torch 2.8.0`."""
        return f"torch {torch.__version__}"

    def infer(self, feed: Feed) -> Feed:
        """Return the module's outputs by name."""
        with torch.inference_mode():
            returned = self.module(torch.from_numpy(feed[self.input_name]))
        tensors = [returned] if isinstance(returned, Tensor) else returned
        return {name: tensor.numpy() for name, tensor in zip(self.outputs, tensors, strict=True)}


def torch_extractor(checkpoint: Checkpoint) -> TorchRunner:
    """Return a runner from `faces` uint8 [B, T, S, S, 3] to `features` float32 [B, T, 2048]."""
    return TorchRunner(checkpoint.extractor, faces_spec(checkpoint.metadata.crop_side).name, [FEATURES.name])


def torch_classifier(checkpoint: Checkpoint) -> TorchRunner:
    """Return a runner from `features` [B, T, 2048] to `logits` [B, 2] and `fake_probability` [B, 1]."""
    return TorchRunner(checkpoint.classifier, FEATURES.name, [LOGITS.name, FAKE_PROBABILITY.name])


def torch_stages(checkpoint: Checkpoint, detector: Runner) -> Stages[Runner]:
    """Return a checkpoint's networks in torch behind `detector`, which checkpoints do not hold."""
    return Stages(
        detector=detector, extractor=torch_extractor(checkpoint), classifier=torch_classifier(checkpoint)
    )

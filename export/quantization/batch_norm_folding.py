"""Fold batch normalization into the convolutions of a ResNeXt, as engines do before they quantize."""

from __future__ import annotations

import copy
import itertools

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from deepfake_triton.models.resnext import ResNeXt50


def fold_batch_norms(backbone: ResNeXt50) -> ResNeXt50:
    """Return a copy whose convolutions have biases and hold the batch normalizations."""
    result = copy.deepcopy(backbone).eval()
    _fold(result, "conv1", "bn1")
    for block in itertools.chain(*result.stages()):
        for number in (1, 2, 3):
            _fold(block, f"conv{number}", f"bn{number}")
        if block.downsample is not None:
            _fold(block.downsample, "0", "1")
    return result


def _fold(parent: nn.Module, conv: str, norm: str) -> None:
    convolution, normalization = parent.get_submodule(conv), parent.get_submodule(norm)
    assert isinstance(convolution, nn.Conv2d) and isinstance(normalization, nn.BatchNorm2d)
    setattr(parent, conv, fuse_conv_bn_eval(convolution, normalization))
    setattr(parent, norm, nn.Identity())

"""Cross-layer equalization of a ResNeXt: bring the channels of each activation to similar ranges.

INT8 has one scale for all channels of an activation. ReLU, addition and max pooling commute with a positive
factor, so a channel may be divided by a factor that the weights of its readers multiply it with again, which
changes no answer (Nagel et al., *Data-Free Quantization Through Weight Equalization and Bias Correction*,
ICCV 2019). The factors come from activations, as in SmoothQuant (Xiao et al., ICML 2023).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from deepfake_triton.models.resnext import Bottleneck, ResNeXt50

_MIGRATION_STRENGTH = 0.75
"""Exponent of a channel's relative range: 1 equalizes ranges fully, 0 leaves them (SmoothQuant's alpha)."""
_MAX_FACTOR = 64.0


@dataclass(frozen=True)
class _EqualizationGroup:
    """Layers that share the channels of one activation, or of activations that are added.

    `producers` write the channels, `consumers` read them, and their range is observed at the outputs of
    `observed`.
    """

    producers: list[nn.BatchNorm2d]
    consumers: list[nn.Conv2d]
    observed: list[nn.Module]


def equalize_cross_layer(backbone: ResNeXt50, images: Tensor) -> ResNeXt50:
    """Return a copy of the backbone with inner channels rescaled by their ranges on `images`.

    `images` [N, 3, S, S] float are normalized. The features of the copy are those of the original.
    """
    result = copy.deepcopy(backbone).eval()
    groups = _equalization_groups(result)
    ranges = _channel_ranges(result, {module for group in groups for module in group.observed}, images)
    with torch.no_grad():
        for group in groups:
            _rescale(group, torch.stack([ranges[module] for module in group.observed]).amax(dim=0))
    return result


def _equalization_groups(backbone: ResNeXt50) -> list[_EqualizationGroup]:
    """All activations but the output of the last stage, which becomes the features."""
    stages = backbone.stages()
    groups = [_EqualizationGroup([backbone.bn1], _input_convolutions(stages[0][0]), [backbone.relu])]
    for number, blocks in enumerate(stages):
        for block in blocks:
            groups.append(_EqualizationGroup([block.bn1], [block.conv2], [block.bn1]))
            groups.append(_EqualizationGroup([block.bn2], [block.conv3], [block.bn2]))
        if number + 1 < len(stages):
            shortcut = blocks[0].downsample
            assert isinstance(shortcut, nn.Sequential) and isinstance(shortcut[1], nn.BatchNorm2d)
            consumers = [conv for block in blocks[1:] for conv in _input_convolutions(block)]
            consumers += _input_convolutions(stages[number + 1][0])
            producers = [shortcut[1], *(block.bn3 for block in blocks)]
            groups.append(_EqualizationGroup(producers, consumers, list(blocks)))
    return groups


def _input_convolutions(block: Bottleneck) -> list[nn.Conv2d]:
    if block.downsample is None:
        return [block.conv1]
    assert isinstance(block.downsample, nn.Sequential) and isinstance(block.downsample[0], nn.Conv2d)
    return [block.conv1, block.downsample[0]]


def _channel_ranges(
    backbone: ResNeXt50, modules: Collection[nn.Module], images: Tensor
) -> dict[nn.Module, Tensor]:
    """The largest positive value [C] of every channel of the modules' outputs."""
    ranges: dict[nn.Module, Tensor] = {}

    def observe(module: nn.Module) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def hook(_: nn.Module, __: tuple[Tensor, ...], output: Tensor) -> None:
            ranges[module] = output.clamp(min=0).amax(dim=(0, 2, 3))

        return hook

    hooks = [module.register_forward_hook(observe(module)) for module in modules]
    with torch.inference_mode():
        backbone(images)
    for hook in hooks:
        hook.remove()
    return ranges


def _rescale(group: _EqualizationGroup, ranges: Tensor) -> None:
    """Divide the channels by a power of their share of the largest range; multiply the consumers' weights."""
    shares = ranges / ranges.max().clamp(min=1e-12)
    factors = shares.clamp(min=1e-9).pow(_MIGRATION_STRENGTH).clamp(min=1 / _MAX_FACTOR)
    for norm in group.producers:
        norm.weight.div_(factors)
        norm.bias.div_(factors)
    for conv in group.consumers:
        outputs, inputs = conv.weight.shape[:2]
        per_group = factors.reshape(conv.groups, 1, inputs, 1, 1)
        grouped = conv.weight.reshape(conv.groups, outputs // conv.groups, inputs, *conv.kernel_size)
        conv.weight.copy_((grouped * per_group).reshape(conv.weight.shape))

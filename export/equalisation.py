"""Channels of one map brought to one scale, without changing an answer: INT8 has one step for all of them.

A ReLU, a maximum and a mean let a positive factor through, so a channel may be divided by what its readers
multiply it with again (Nagel et al., *Data-Free Quantization Through Weight Equalization and Bias
Correction*, ICCV 2019). Here the factors come from the activations, as in SmoothQuant (Xiao et al., 2023).
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from deepfake_triton.export.backbone import Bottleneck, ResNeXt50

_STRENGTH = 0.75
_LARGEST_FACTOR = 64.0


@dataclass(frozen=True)
class _Map:
    """Channels that are one tensor, or are added: the normalisations that write it, the convolutions that
    read it, and the modules whose outputs it is."""

    written_by: list[nn.BatchNorm2d]
    read_by: list[nn.Conv2d]
    seen_at: list[nn.Module]


def equalised(backbone: ResNeXt50, pictures: Tensor) -> ResNeXt50:
    """A copy of the backbone with every inner channel rescaled by how far it reaches on `pictures`
    [N, 3, S, S], normalised; its features stay what they were."""
    equal = copy.deepcopy(backbone).eval()
    maps = _maps(equal)
    reach = _reach(equal, [module for each in maps for module in each.seen_at], pictures)
    with torch.no_grad():
        for each in maps:
            together = torch.stack([reach[module] for module in each.seen_at]).amax(dim=0)
            _rescale(each, together)
    return equal


def _maps(backbone: ResNeXt50) -> list[_Map]:
    """All but the last stage's sum, which becomes the features."""
    stages = backbone.stages()
    maps = [_Map([backbone.bn1], _readers(stages[0][0]), [backbone.relu])]
    for number, blocks in enumerate(stages):
        for block in blocks:
            maps.append(_Map([block.bn1], [block.conv2], [block.bn1]))
            maps.append(_Map([block.bn2], [block.conv3], [block.bn2]))
        if number + 1 < len(stages):
            shortcut = blocks[0].downsample
            assert isinstance(shortcut, nn.Sequential) and isinstance(shortcut[1], nn.BatchNorm2d)
            readers = [conv for block in blocks[1:] for conv in _readers(block)]
            readers += _readers(stages[number + 1][0])
            maps.append(_Map([shortcut[1], *(block.bn3 for block in blocks)], readers, list(blocks)))
    return maps


def _readers(block: Bottleneck) -> list[nn.Conv2d]:
    if block.downsample is None:
        return [block.conv1]
    assert isinstance(block.downsample, nn.Sequential) and isinstance(block.downsample[0], nn.Conv2d)
    return [block.conv1, block.downsample[0]]


def _reach(backbone: ResNeXt50, modules: list[nn.Module], pictures: Tensor) -> dict[nn.Module, Tensor]:
    """The largest value above 0 of every channel of what those modules give."""
    found: dict[nn.Module, Tensor] = {}

    def looking(module: nn.Module) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def look(_: nn.Module, __: tuple[Tensor, ...], output: Tensor) -> None:
            found[module] = output.clamp(min=0).amax(dim=(0, 2, 3))

        return look

    hooks = [module.register_forward_hook(looking(module)) for module in modules]
    with torch.inference_mode():
        backbone(pictures)
    for hook in hooks:
        hook.remove()
    return found


def _rescale(each: _Map, reach: Tensor) -> None:
    """Divide the channels by their share of the largest reach, or by a part of it, and multiply behind."""
    share = reach / reach.max().clamp(min=1e-12)
    factor = share.clamp(min=1e-9).pow(_STRENGTH).clamp(min=1 / _LARGEST_FACTOR)
    for norm in each.written_by:
        norm.weight.div_(factor)
        norm.bias.div_(factor)
    for conv in each.read_by:
        if conv.groups == 1:
            conv.weight.mul_(factor.reshape(1, -1, 1, 1))
        else:  # each group reads its own part of the channels
            outputs, inputs = conv.weight.shape[:2]
            per_group = factor.reshape(conv.groups, 1, inputs, 1, 1)
            grouped = conv.weight.reshape(conv.groups, outputs // conv.groups, inputs, *conv.kernel_size)
            conv.weight.copy_((grouped * per_group).reshape(conv.weight.shape))

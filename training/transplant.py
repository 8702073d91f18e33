"""A tuned EfficientNet-Lite0 laid into a ResNeXt-50, which so begins with what the teacher knows.

A bottleneck holds an inverted residual block (Sandler et al., *MobileNetV2*, CVPR 2018) as a special case:
its grouped convolution is a depthwise one where only the diagonal of each group is filled, and in the trunk,
which is many times wider, each block's output has channels of its own (its slots). What differs is small
enough to be learned: the stem and the maximum pool, blocks 13 and 14 (ResNeXt has no room for them), 5×5
kernels folded to 3×3, hidden channels beyond the bottleneck's width, and ReLU in place of ReLU6. A trunk ends
in ReLU while an inverted block's output has a sign: slots therefore carry the value plus an offset.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from deepfake_triton.export.backbone import CARDINALITY, Bottleneck, ResNeXt50

HEAD_SLOTS = slice(192, 192 + 1280)
_OFFSET_SPREADS = 3.5
_FREE_SHORTCUT = 0.1


@dataclass(frozen=True)
class Graft:
    """Block number `source` of the teacher goes to `target` (layer, block), reads the slots `reads` of what
    comes in and writes the slots `writes`; `stage` marks the blocks whose outputs are summed in one place."""

    source: int
    target: tuple[int, int]
    reads: slice
    writes: slice
    stage: int


GRAFTS = (
    Graft(0, (1, 0), slice(0, 32), slice(0, 16), 0),
    Graft(1, (1, 1), slice(0, 16), slice(16, 40), 1),
    Graft(2, (1, 2), slice(16, 40), slice(16, 40), 1),
    Graft(3, (2, 0), slice(16, 40), slice(0, 40), 2),
    Graft(4, (2, 1), slice(0, 40), slice(0, 40), 2),
    Graft(5, (3, 0), slice(0, 40), slice(0, 80), 3),
    Graft(6, (3, 1), slice(0, 80), slice(0, 80), 3),
    Graft(7, (3, 2), slice(0, 80), slice(0, 80), 3),
    Graft(8, (3, 3), slice(0, 80), slice(80, 192), 4),
    Graft(9, (3, 4), slice(80, 192), slice(80, 192), 4),
    Graft(10, (3, 5), slice(80, 192), slice(80, 192), 4),
    Graft(11, (4, 0), slice(80, 192), slice(0, 192), 5),
    Graft(12, (4, 1), slice(0, 192), slice(0, 192), 5),
    Graft(15, (4, 2), slice(0, 192), HEAD_SLOTS, 6),
)
# Where the teacher's maps (see its HINT_BLOCKS) stand in the backbone's: stage and slots.
_HINTS = (
    (1, slice(16, 40)),
    (2, slice(0, 40)),
    (3, slice(0, 80)),
    (4, slice(80, 192)),
    (5, slice(0, 192)),
    (6, HEAD_SLOTS),
)


@dataclass(frozen=True)
class Slots:
    """Channels of one of the backbone's maps that hold a map of the teacher's, plus `offset` [C]."""

    channels: slice
    offset: Tensor


@torch.no_grad()
def transplant(network: Any, backbone: ResNeXt50) -> list[Slots]:
    """Overwrite a freshly drawn backbone's weights with an EfficientNet-Lite0's where these have a place.

    Returns where the teacher's maps, in their order, then stand in the backbone's.
    """
    _plant_stem(network, backbone)
    offsets = {stage: _offset(network, stage) for stage in range(7)}
    previous = -1
    for graft in GRAFTS:
        block = _bottleneck(backbone, graft.target)
        arrives = torch.zeros(graft.reads.stop - graft.reads.start)
        if previous >= 0:
            arrives = offsets[previous]
        first_of_stage = previous != graft.stage
        _plant_block(network, graft, block, arrives, offsets[graft.stage] if first_of_stage else None)
        previous = graft.stage
    for number in (2, 3):  # the teacher has fewer blocks there
        nn.init.zeros_(_bottleneck(backbone, (2, number)).bn3.weight)
    return [Slots(channels, offsets[stage]) for stage, channels in _HINTS]


def _bottleneck(backbone: ResNeXt50, target: tuple[int, int]) -> Bottleneck:
    layer, number = target
    block: Bottleneck = getattr(backbone, f"layer{layer}")[number]
    return block


def _offset(network: Any, stage: int) -> Tensor:
    """What keeps nearly all values of a stage's slots above zero, by the scale and shift of their norms."""
    if stage == 6:  # the head, which ends in ReLU itself
        return torch.zeros(HEAD_SLOTS.stop - HEAD_SLOTS.start)
    norms = [network._blocks[graft.source]._bn2 for graft in GRAFTS if graft.stage == stage]
    means = torch.stack([norm.bias for norm in norms]).cumsum(0)
    spreads = torch.stack([norm.weight**2 for norm in norms]).cumsum(0).sqrt()
    needed: Tensor = (_OFFSET_SPREADS * spreads - means).amax(0).clamp(min=0)
    return needed


def _plant_stem(network: Any, backbone: ResNeXt50) -> None:
    channels = network._conv_stem.weight.shape[0]
    backbone.conv1.weight[:channels] = 0
    backbone.conv1.weight[:channels, :, 2:5, 2:5] = network._conv_stem.weight
    _copy_norm(network._bn0, backbone.bn1, torch.arange(channels), slice(0, channels))


def _plant_block(network: Any, graft: Graft, block: Bottleneck, arrives: Tensor, adds: Tensor | None) -> None:
    source = network._blocks[graft.source]
    width = block.conv1.weight.shape[0]
    depthwise = _folded(source._depthwise_conv.weight[:, 0])
    project, last_norm = source._project_conv.weight[:, :, 0, 0], source._bn2
    kept = _strongest(project, source._bn1, width)
    hidden = slice(0, len(kept))

    block.conv1.weight[hidden] = 0
    if hasattr(source, "_expand_conv"):
        expand = source._expand_conv.weight[kept, :, 0, 0]
        block.conv1.weight[hidden, graft.reads, 0, 0] = expand
        _copy_norm(source._bn0, block.bn1, kept, hidden, moved=expand @ arrives)
    else:
        block.conv1.weight[hidden, graft.reads, 0, 0] = torch.eye(len(kept))
        _pass_through(network._bn0, block.bn1, hidden)

    in_group = width // CARDINALITY
    block.conv2.weight[hidden] = 0
    rows = torch.arange(len(kept))
    block.conv2.weight[rows, rows % in_group] = depthwise[kept]
    _copy_norm(source._bn1, block.bn2, kept, hidden)

    nn.init.zeros_(block.bn3.weight)  # new channels begin as their shortcut alone
    projected = project[:, kept]
    if graft.writes == HEAD_SLOTS:
        scale, shift = _as_affine(last_norm)
        head = network._conv_head.weight[:, :, 0, 0]
        moved = -(head @ shift)
        projected, last_norm = head @ (scale[:, None] * projected), network._bn1
        _copy_norm(last_norm, block.bn3, torch.arange(len(projected)), graft.writes, moved=moved)
    else:
        _copy_norm(last_norm, block.bn3, torch.arange(len(projected)), graft.writes)
    block.conv3.weight[graft.writes] = 0
    block.conv3.weight[graft.writes, hidden, 0, 0] = projected
    if adds is not None:
        block.bn3.bias[graft.writes] += adds
    if isinstance(block.downsample, nn.Sequential):
        norm = block.downsample[1]
        assert isinstance(norm, nn.BatchNorm2d)
        if graft.target[0] == 4:
            norm.weight.fill_(_FREE_SHORTCUT)
        norm.weight[_slots_of_layer(graft.target[0])] = 0


def _slots_of_layer(layer: int) -> slice:
    """All slots that a layer writes, but the head's: there the shortcut must not add anything."""
    stops = [g.writes.stop for g in GRAFTS if g.target[0] == layer and g.writes != HEAD_SLOTS]
    return slice(0, max(stops))


def _folded(kernels: Tensor) -> Tensor:
    """Depthwise kernels [C, 5, 5] as [C, 3, 3], with the outer taps added to their nearest inner ones."""
    if kernels.shape[-1] == 3:
        return kernels
    rows = torch.stack([kernels[:, 0] + kernels[:, 1], kernels[:, 2], kernels[:, 3] + kernels[:, 4]], dim=1)
    columns = [rows[..., 0] + rows[..., 1], rows[..., 2], rows[..., 3] + rows[..., 4]]
    return torch.stack(columns, dim=2)


def _strongest(project: Tensor, norm: nn.BatchNorm2d, room: int) -> Tensor:
    """The hidden channels that tell most in what a block projects, as many as there is room for."""
    weight = project.norm(dim=0) * norm.weight.abs()
    kept: Tensor = weight.topk(min(room, len(weight))).indices.sort().values
    return kept


def _as_affine(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Scale and shift of a norm in eval mode."""
    assert norm.running_var is not None and norm.running_mean is not None
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    return scale, norm.bias - scale * norm.running_mean


def _copy_norm(
    source: nn.BatchNorm2d, target: nn.BatchNorm2d, kept: Tensor, to: slice, moved: Tensor | None = None
) -> None:
    """Copy the channels `kept`; `moved` is by how much their input lies higher than the source's."""
    assert source.running_var is not None and source.running_mean is not None
    assert target.running_var is not None and target.running_mean is not None
    variance = source.running_var[kept]
    target.weight[to] = source.weight[kept] * ((variance + target.eps) / (variance + source.eps)).sqrt()
    target.bias[to] = source.bias[kept]
    target.running_var[to] = variance
    target.running_mean[to] = source.running_mean[kept] + (0 if moved is None else moved)


def _pass_through(source: nn.BatchNorm2d, target: nn.BatchNorm2d, to: slice) -> None:
    """Normalise, then undo it, for values that follow `source` and ReLU: what comes in goes out."""
    assert target.running_var is not None and target.running_mean is not None
    # Mean and spread of max(0, normal) by its closed form.
    spread, mean = source.weight.abs().clamp(min=1e-3), source.bias
    z = mean / spread
    chance, density = torch.special.ndtr(z), (-z * z / 2).exp() / math.sqrt(2 * math.pi)
    first = mean * chance + spread * density
    second = (mean**2 + spread**2) * chance + mean * spread * density
    variance = (second - first**2).clamp(min=1e-4)
    target.weight[to] = (variance + target.eps).sqrt()
    target.bias[to] = first
    target.running_mean[to] = first
    target.running_var[to] = variance

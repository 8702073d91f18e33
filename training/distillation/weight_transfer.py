"""Initialize the ResNeXt-50 from a fine-tuned EfficientNet-Lite0 (weight transfer).

A bottleneck contains an inverted residual block (Sandler et al., *MobileNetV2*, CVPR 2018) as a special case:
its grouped convolution is depthwise where only the diagonal of each group is filled, and in the trunk, which
is many times wider, each block writes to channels of its own (its slots). The remaining differences are small
enough to be learned: the stem and the max pooling, blocks 13 and 14 (ResNeXt has no room for them), 5×5
kernels folded to 3×3, hidden channels beyond the bottleneck's width, and ReLU in place of ReLU6. A trunk ends
in ReLU while the output of an inverted block is signed: slots therefore hold the value plus an offset.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from deepfake_triton.models.resnext import CARDINALITY, Bottleneck, ResNeXt50

HEAD_SLOTS = slice(192, 192 + 1280)
_OFFSET_SPREADS = 3.5
_FREE_SHORTCUT = 0.1


@dataclass(frozen=True)
class BlockTransfer:
    """Transfer of one of the teacher's blocks into one of the backbone's.

    Block number `source` goes to `target` (layer, block), reads the slots `reads` of its input and writes the
    slots `writes`; blocks of one `stage` add their outputs to the same slots.
    """

    source: int
    target: tuple[int, int]
    reads: slice
    writes: slice
    stage: int


BLOCK_TRANSFERS = (
    BlockTransfer(0, (1, 0), slice(0, 32), slice(0, 16), 0),
    BlockTransfer(1, (1, 1), slice(0, 16), slice(16, 40), 1),
    BlockTransfer(2, (1, 2), slice(16, 40), slice(16, 40), 1),
    BlockTransfer(3, (2, 0), slice(16, 40), slice(0, 40), 2),
    BlockTransfer(4, (2, 1), slice(0, 40), slice(0, 40), 2),
    BlockTransfer(5, (3, 0), slice(0, 40), slice(0, 80), 3),
    BlockTransfer(6, (3, 1), slice(0, 80), slice(0, 80), 3),
    BlockTransfer(7, (3, 2), slice(0, 80), slice(0, 80), 3),
    BlockTransfer(8, (3, 3), slice(0, 80), slice(80, 192), 4),
    BlockTransfer(9, (3, 4), slice(80, 192), slice(80, 192), 4),
    BlockTransfer(10, (3, 5), slice(80, 192), slice(80, 192), 4),
    BlockTransfer(11, (4, 0), slice(80, 192), slice(0, 192), 5),
    BlockTransfer(12, (4, 1), slice(0, 192), slice(0, 192), 5),
    BlockTransfer(15, (4, 2), slice(0, 192), HEAD_SLOTS, 6),
)
# Stage and slots of the teacher's feature maps (its HINT_BLOCKS) in the backbone.
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
    """Channels of a backbone's feature map that hold one of the teacher's, plus an `offset` [C]."""

    channels: slice
    offset: Tensor


@torch.no_grad()
def transfer_weights(network: Any, backbone: ResNeXt50) -> list[Slots]:
    """Overwrite the weights of a randomly initialized backbone with those of an EfficientNet-Lite0.

    Returns the slots of the teacher's feature maps in the backbone's, in the teacher's order.
    """
    _transfer_stem(network, backbone)
    offsets = {stage: _offset(network, stage) for stage in range(7)}
    previous = -1
    for transfer in BLOCK_TRANSFERS:
        block = _bottleneck(backbone, transfer.target)
        input_offset = torch.zeros(transfer.reads.stop - transfer.reads.start)
        if previous >= 0:
            input_offset = offsets[previous]
        added_offset = offsets[transfer.stage] if previous != transfer.stage else None
        _transfer_block(network, transfer, block, input_offset=input_offset, added_offset=added_offset)
        previous = transfer.stage
    for number in (2, 3):  # the teacher has fewer blocks there
        nn.init.zeros_(_bottleneck(backbone, (2, number)).bn3.weight)
    return [Slots(channels, offsets[stage]) for stage, channels in _HINTS]


def _bottleneck(backbone: ResNeXt50, target: tuple[int, int]) -> Bottleneck:
    layer, number = target
    block: Bottleneck = getattr(backbone, f"layer{layer}")[number]
    return block


def _offset(network: Any, stage: int) -> Tensor:
    """Return the offset [C] that keeps nearly all values of a stage's slots positive.

    It is estimated from scale and shift of the batch norms.
    """
    if stage == 6:  # the head, which ends in ReLU itself
        return torch.zeros(HEAD_SLOTS.stop - HEAD_SLOTS.start)
    norms = [network._blocks[transfer.source]._bn2 for transfer in BLOCK_TRANSFERS if transfer.stage == stage]
    means = torch.stack([norm.bias for norm in norms]).cumsum(0)
    spreads = torch.stack([norm.weight**2 for norm in norms]).cumsum(0).sqrt()
    needed: Tensor = (_OFFSET_SPREADS * spreads - means).amax(0).clamp(min=0)
    return needed


def _transfer_stem(network: Any, backbone: ResNeXt50) -> None:
    channels = network._conv_stem.weight.shape[0]
    backbone.conv1.weight[:channels] = 0
    backbone.conv1.weight[:channels, :, 2:5, 2:5] = network._conv_stem.weight
    _copy_norm(network._bn0, backbone.bn1, channels=torch.arange(channels), to=slice(0, channels))


def _transfer_block(
    network: Any,
    transfer: BlockTransfer,
    block: Bottleneck,
    *,
    input_offset: Tensor,
    added_offset: Tensor | None,
) -> None:
    """Fill a bottleneck with an inverted residual block.

    `input_offset` [C] is that of the slots it reads; `added_offset` is what it adds to those it writes, for
    the first block of a stage.
    """
    source = network._blocks[transfer.source]
    width = block.conv1.weight.shape[0]
    depthwise = _fold_kernels(source._depthwise_conv.weight[:, 0])
    project, last_norm = source._project_conv.weight[:, :, 0, 0], source._bn2
    kept = _strongest_channels(project, source._bn1, width)
    hidden = slice(0, len(kept))

    block.conv1.weight[hidden] = 0
    if hasattr(source, "_expand_conv"):
        expand = source._expand_conv.weight[kept, :, 0, 0]
        block.conv1.weight[hidden, transfer.reads, 0, 0] = expand
        _copy_norm(source._bn0, block.bn1, channels=kept, to=hidden, mean_shift=expand @ input_offset)
    else:
        block.conv1.weight[hidden, transfer.reads, 0, 0] = torch.eye(len(kept))
        _pass_through(network._bn0, block.bn1, hidden)

    in_group = width // CARDINALITY
    block.conv2.weight[hidden] = 0
    rows = torch.arange(len(kept))
    block.conv2.weight[rows, rows % in_group] = depthwise[kept]
    _copy_norm(source._bn1, block.bn2, channels=kept, to=hidden)

    nn.init.zeros_(block.bn3.weight)  # new channels begin as their shortcut alone
    projected = project[:, kept]
    if transfer.writes == HEAD_SLOTS:
        scale, shift = _as_affine(last_norm)
        head = network._conv_head.weight[:, :, 0, 0]
        mean_shift = -(head @ shift)
        projected, last_norm = head @ (scale[:, None] * projected), network._bn1
    else:
        mean_shift = torch.zeros(())
    channels = torch.arange(len(projected))
    _copy_norm(last_norm, block.bn3, channels=channels, to=transfer.writes, mean_shift=mean_shift)
    block.conv3.weight[transfer.writes] = 0
    block.conv3.weight[transfer.writes, hidden, 0, 0] = projected
    if added_offset is not None:
        block.bn3.bias[transfer.writes] += added_offset
    if isinstance(block.downsample, nn.Sequential):
        norm = block.downsample[1]
        assert isinstance(norm, nn.BatchNorm2d)
        if transfer.target[0] == 4:
            norm.weight.fill_(_FREE_SHORTCUT)
        norm.weight[_slots_of_layer(transfer.target[0])] = 0


def _slots_of_layer(layer: int) -> slice:
    """Return the slots that a layer writes, except the head's: the shortcut must not add to them."""
    stops = [
        transfer.writes.stop
        for transfer in BLOCK_TRANSFERS
        if transfer.target[0] == layer and transfer.writes != HEAD_SLOTS
    ]
    return slice(0, max(stops))


def _fold_kernels(kernels: Tensor) -> Tensor:
    """Fold depthwise kernels [C, 5, 5] to [C, 3, 3], adding outer taps to their nearest inner ones."""
    if kernels.shape[-1] == 3:
        return kernels
    rows = torch.stack([kernels[:, 0] + kernels[:, 1], kernels[:, 2], kernels[:, 3] + kernels[:, 4]], dim=1)
    columns = [rows[..., 0] + rows[..., 1], rows[..., 2], rows[..., 3] + rows[..., 4]]
    return torch.stack(columns, dim=2)


def _strongest_channels(project: Tensor, norm: nn.BatchNorm2d, max_channels: int) -> Tensor:
    """Return the sorted indices of the hidden channels with the largest weight in a block's projection."""
    weight = project.norm(dim=0) * norm.weight.abs()
    kept: Tensor = weight.topk(min(max_channels, len(weight))).indices.sort().values
    return kept


def _as_affine(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Return scale and shift [C] of a batch norm in eval mode."""
    assert norm.running_var is not None and norm.running_mean is not None
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    return scale, norm.bias - scale * norm.running_mean


def _copy_norm(
    source: nn.BatchNorm2d,
    target: nn.BatchNorm2d,
    *,
    channels: Tensor,
    to: slice,
    mean_shift: Tensor | None = None,
) -> None:
    """Copy `channels` of a batch norm `to` others.

    `mean_shift` is how much higher the target's input is than the source's.
    """
    assert source.running_var is not None and source.running_mean is not None
    assert target.running_var is not None and target.running_mean is not None
    variance = source.running_var[channels]
    target.weight[to] = source.weight[channels] * ((variance + target.eps) / (variance + source.eps)).sqrt()
    target.bias[to] = source.bias[channels]
    target.running_var[to] = variance
    target.running_mean[to] = source.running_mean[channels] + (0 if mean_shift is None else mean_shift)


def _pass_through(source: nn.BatchNorm2d, target: nn.BatchNorm2d, to: slice) -> None:
    """Make a batch norm the identity for inputs distributed like the output of `source` and ReLU."""
    assert target.running_var is not None and target.running_mean is not None
    # Mean and variance of max(0, normal), in closed form.
    spread, mean = source.weight.abs().clamp(min=1e-3), source.bias
    z = mean / spread
    probability, density = torch.special.ndtr(z), (-z * z / 2).exp() / math.sqrt(2 * math.pi)
    first = mean * probability + spread * density
    second = (mean**2 + spread**2) * probability + mean * spread * density
    variance = (second - first**2).clamp(min=1e-4)
    target.weight[to] = (variance + target.eps).sqrt()
    target.bias[to] = first
    target.running_mean[to] = first
    target.running_var[to] = variance

"""Weights on the grid of INT8 that make up for the rounding before them: fitted layer by layer on pictures.

Each convolution is fitted by least squares to what the exact one answers, from the rounded maps that it will
see; then its weights are rounded one after the other, and those that remain take over the error (Frantar et
al., *GPTQ: Accurate Post-Training Quantization for Generative Pre-trained Transformers*, ICLR 2023).
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from deepfake_triton.export.backbone import Bottleneck, ResNeXt50
from deepfake_triton.export.grid import Grid

_CHUNK = 16
_MOST_PICTURES = 192
_POSITIONS = 6_000
"""Of a chunk's maps that are looked at: neighbours say the same."""
_COLUMNS = 64
_RIDGE = 0.05
"""How firmly the weights are held where the pictures say nothing, as a share of the inputs' mean variance."""


@dataclass(frozen=True)
class Grids:
    """Of the maps that a convolution reads and writes."""

    read: Grid
    written: Grid


@dataclass(frozen=True)
class _Maps:
    """The same maps [N, C, H, W] as they should be, and as they come out of rounded layers."""

    exact: Tensor
    rounded: Tensor

    def rectified(self) -> _Maps:
        return _Maps(self.exact.relu(), self.rounded.relu())


def folded(backbone: ResNeXt50) -> ResNeXt50:
    """A copy whose normalisations are part of its convolutions."""
    result = copy.deepcopy(backbone).eval()
    _fold(result, "conv1", "bn1")
    for block in itertools.chain(*result.stages()):
        for number in (1, 2, 3):
            _fold(block, f"conv{number}", f"bn{number}")
        if block.downsample is not None:
            _fold(block.downsample, "0", "1")
    return result


def rounded(backbone: ResNeXt50, pictures: Tensor, grids: Sequence[Grids], highest_weight: int) -> ResNeXt50:
    """A copy of a folded backbone with weights for INT8, fitted to `pictures` [N, 3, S, S], as it takes them,
    and to their mirror images.

    `grids` are those of the convolutions in the order in which they run. By output channel the weights
    stand on a grid of whole numbers up to `highest_weight`, the largest on its end, so that a quantiser that
    takes its step from the largest weight finds them as they are. Features have the means of exact ones.
    """
    result = copy.deepcopy(backbone).eval()
    fitting = _Fitting(dict(zip(_convolutions(result), grids, strict=True)), highest_weight)
    with torch.inference_mode():
        pictures = pictures[:_MOST_PICTURES]
        pictures = torch.cat([pictures, pictures.flip(3)]).contiguous(memory_format=torch.channels_last)
        maps = fitting.through(result.conv1, _Maps(pictures, pictures)).rectified()
        maps = _Maps(result.maxpool(maps.exact), result.maxpool(maps.rounded))
        for block in itertools.chain(*result.stages()):
            maps = fitting.through_block(block, maps)
        lost = (maps.exact - maps.rounded).mean(dim=(0, 2, 3))
    result.avgpool = nn.Sequential(result.avgpool, _Shift(lost))
    return result


class _Shift(nn.Module):
    """Adds what channels [C] of maps [N, C, H, W] lost on average behind the last ReLU, where no bias is."""

    shift: Tensor

    def __init__(self, shift: Tensor) -> None:
        super().__init__()
        self.register_buffer("shift", shift.reshape(1, -1, 1, 1).clone())

    def forward(self, maps: Tensor) -> Tensor:
        """See the class."""
        return maps + self.shift


@dataclass(frozen=True)
class _Fitting:
    grids: Mapping[nn.Conv2d, Grids]
    highest_weight: int

    def through_block(self, block: Bottleneck, maps: _Maps) -> _Maps:
        """As `Bottleneck.forward` does it."""
        if block.downsample is None:
            shortcut = _Maps(maps.exact, self.grids[block.conv1].read.rounded(maps.rounded))
        else:
            conv = _downsampling(block.downsample)
            shortcut = self.through(conv, maps)
            shortcut = _Maps(shortcut.exact, self.grids[conv].written.rounded(shortcut.rounded))
        inner = self.through(block.conv1, maps).rectified()
        inner = self.through(block.conv2, inner).rectified()
        inner = self.through(block.conv3, inner)  # added before it is rounded
        return _Maps(inner.exact + shortcut.exact, inner.rounded + shortcut.rounded).rectified()

    def through(self, conv: nn.Conv2d, maps: _Maps) -> _Maps:
        """Give the convolution its new weights; return what the old and the new ones answer."""
        seen = self.grids[conv].read.rounded(maps.rounded)
        exact = _in_chunks(conv, maps.exact)
        _refit(conv, seen, exact, self.highest_weight)
        return _Maps(exact, _in_chunks(conv, seen))


def _refit(conv: nn.Conv2d, seen: Tensor, wanted: Tensor, highest: int) -> None:
    """Weights on the grid, and a bias, by which the convolution makes `wanted` of what is `seen`."""
    before = _by_group(conv.weight, conv.groups)
    moments = _moments(conv, seen, wanted)
    ridge = _RIDGE * np.trace(moments.reads, axis1=1, axis2=2) / before.shape[2] + 1e-9
    held = ridge[:, None, None] * np.eye(before.shape[2])
    inverse = np.linalg.inv(moments.reads + held)
    weights = _on_weight_grid((moments.both + before @ held) @ inverse, inverse, highest)
    bias = moments.mean_wanted - (weights @ moments.mean_read[:, :, None])[:, :, 0]
    conv.weight.copy_(torch.from_numpy(weights.reshape(conv.weight.shape)))
    assert conv.bias is not None  # a folded backbone's
    conv.bias.copy_(torch.from_numpy(bias.reshape(-1)))


def _on_weight_grid(
    free: npt.NDArray[np.float64], inverse: npt.NDArray[np.float64], highest: int
) -> npt.NDArray[np.float64]:
    """Round weights [G, O, K] one of K after the other; those behind it take over the error, by the inverse
    [G, K, K] of how inputs vary together."""
    largest = np.abs(free).argmax(axis=2)
    step = np.maximum(np.abs(free).max(axis=2), 1e-12) / highest
    lower = np.linalg.cholesky(inverse)
    rest = np.ascontiguousarray(free.transpose(0, 2, 1))  # [G, K, O], for rows that lie together
    found, errors = np.empty_like(rest), np.empty_like(rest)
    for first in range(0, free.shape[2], _COLUMNS):  # what lies behind takes over a block's errors at once
        end = min(first + _COLUMNS, free.shape[2])
        for index in range(first, end):
            whole = np.clip(np.rint(rest[:, index] / step), -highest, highest)
            whole = np.where(largest == index, np.sign(free[:, :, index]) * highest, whole)
            found[:, index] = whole * step
            errors[:, index] = (rest[:, index] - found[:, index]) * (1 / lower[:, index, index])[:, None]
            rest[:, index + 1 : end] -= lower[:, index + 1 : end, index, None] * errors[:, None, index]
        rest[:, end:] -= lower[:, end:, first:end] @ errors[:, first:end]
    return found.transpose(0, 2, 1)


@dataclass(frozen=True)
class _Moments:
    """Of what a convolution reads [K] at a position and is to write [O], by group: means, and how the reads
    vary with one another [G, K, K] and with the writes [G, O, K]."""

    mean_read: npt.NDArray[np.float64]
    mean_wanted: npt.NDArray[np.float64]
    reads: npt.NDArray[np.float64]
    both: npt.NDArray[np.float64]


def _moments(conv: nn.Conv2d, seen: Tensor, wanted: Tensor) -> _Moments:
    picked = torch.Generator().manual_seed(0)
    origins = [
        values.mean(dim=1, keepdim=True) for values in _positions(conv, seen[:_CHUNK], wanted[:_CHUNK])
    ]
    count = 0
    read = written = reads = both = np.zeros(1)
    for first in range(0, len(seen), _CHUNK):
        inputs, outputs = _positions(conv, seen[first : first + _CHUNK], wanted[first : first + _CHUNK])
        if inputs.shape[1] > _POSITIONS:
            some = torch.randperm(inputs.shape[1], generator=picked)[:_POSITIONS]
            inputs, outputs = inputs[:, some], outputs[:, some]
        inputs, outputs = inputs - origins[0], outputs - origins[1]  # of small numbers, squares add up well
        count += inputs.shape[1]
        read = read + inputs.sum(dim=1).double().numpy()
        written = written + outputs.sum(dim=1).double().numpy()
        reads = reads + (inputs.transpose(1, 2) @ inputs).double().numpy()
        both = both + (outputs.transpose(1, 2) @ inputs).double().numpy()
    read, written = read / count, written / count
    return _Moments(
        read + origins[0][:, 0].double().numpy(),
        written + origins[1][:, 0].double().numpy(),
        reads / count - read[:, :, None] * read[:, None, :],
        both / count - written[:, :, None] * read[:, None, :],
    )


def _positions(conv: nn.Conv2d, seen: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """What the convolution reads and is to write at every position P: [G, P, K] and [G, P, O]."""
    groups, margin = conv.groups, int(conv.padding[0])
    patches = functional.unfold(seen, conv.kernel_size, padding=margin, stride=conv.stride)
    count, values, places = patches.shape
    inputs = patches.reshape(count, groups, values // groups, places).permute(1, 0, 3, 2)
    outputs = wanted.reshape(count, groups, wanted.shape[1] // groups, places).permute(1, 0, 3, 2)
    return inputs.reshape(groups, count * places, -1), outputs.reshape(groups, count * places, -1)


def _by_group(weight: Tensor, groups: int) -> npt.NDArray[np.float64]:
    return weight.double().reshape(groups, weight.shape[0] // groups, -1).numpy()


def _in_chunks(conv: nn.Conv2d, maps: Tensor) -> Tensor:
    return torch.cat([conv(maps[first : first + _CHUNK]) for first in range(0, len(maps), _CHUNK)])


def _fold(parent: nn.Module, conv: str, norm: str) -> None:
    before, after = parent.get_submodule(conv), parent.get_submodule(norm)
    assert isinstance(before, nn.Conv2d) and isinstance(after, nn.BatchNorm2d)
    setattr(parent, conv, fuse_conv_bn_eval(before, after))
    setattr(parent, norm, nn.Identity())


def _convolutions(backbone: ResNeXt50) -> list[nn.Conv2d]:
    """In the order in which they run."""
    found = [backbone.conv1]
    for block in itertools.chain(*backbone.stages()):
        if block.downsample is not None:
            found.append(_downsampling(block.downsample))
        found += [block.conv1, block.conv2, block.conv3]
    return found


def _downsampling(downsample: nn.Module) -> nn.Conv2d:
    conv = downsample.get_submodule("0")
    assert isinstance(conv, nn.Conv2d)
    return conv

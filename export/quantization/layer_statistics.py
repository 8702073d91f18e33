"""First and second moments of what a convolution reads and should write: the Hessian that GPTQ rounds by."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

_POSITIONS_PER_IMAGE = 64
"""Output positions of an image that are used at most: neighbors are alike."""
_ROWS_PER_CHUNK = 8192


@dataclass(frozen=True)
class LayerStatistics:
    """Moments over output positions, by group G, of the K inputs and O outputs of a convolution, float64.

    Means are [G, K] and [G, O], the covariance of inputs [G, K, K], that of outputs with inputs [G, O, K].
    """

    input_mean: Tensor
    output_mean: Tensor
    input_covariance: Tensor
    cross_covariance: Tensor


def layer_statistics(conv: nn.Conv2d, inputs: Tensor, outputs: Tensor) -> LayerStatistics:
    """Return the statistics of `inputs` [N, C, H, W] and wanted `outputs` [N, D, H', W'] of a convolution."""
    places = outputs.shape[2] * outputs.shape[3]
    images = max(1, _ROWS_PER_CHUNK // min(places, _POSITIONS_PER_IMAGE))
    generator = torch.Generator().manual_seed(0)
    origins: list[Tensor] = []
    sums: list[Tensor] = []
    count = 0
    for some_inputs, some_outputs in zip(
        torch.split(inputs, images), torch.split(outputs, images), strict=True
    ):
        picked = torch.randperm(places, generator=generator)[:_POSITIONS_PER_IMAGE]
        read, written = _columns(conv, some_inputs, picked), _by_position(some_outputs, picked, conv.groups)
        if not origins:  # squares of small numbers add up exactly enough in float32
            origins = [read.mean(dim=1, keepdim=True), written.mean(dim=1, keepdim=True)]
        read, written = read.sub_(origins[0]), written.sub_(origins[1])
        count += read.shape[1]
        moments = [read.sum(dim=1), written.sum(dim=1), read.mT @ read, written.mT @ read]
        sums = [total.add_(new) for total, new in zip(sums, moments, strict=True)] if sums else moments
    input_mean, output_mean, input_square, product = (total.double() / count for total in sums)
    return LayerStatistics(
        input_mean + origins[0][:, 0].double(),
        output_mean + origins[1][:, 0].double(),
        input_square - input_mean[:, :, None] * input_mean[:, None, :],
        product - output_mean[:, :, None] * input_mean[:, None, :],
    )


def _columns(conv: nn.Conv2d, inputs: Tensor, picked: Tensor) -> Tensor:
    """Return what the convolution reads of [N, C, H, W] at the picked positions, [G, P, K], as in im2col."""
    (height, width), (stride, _), padding = conv.kernel_size, conv.stride, int(conv.padding[0])
    padded = functional.pad(inputs, (padding,) * 4) if padding else inputs
    columns = (padded.shape[3] - width) // stride + 1
    first = picked // columns * stride * padded.shape[3] + picked % columns * stride
    taps = [
        _by_position(padded, first + row * padded.shape[3] + column, conv.groups)
        for row in range(height)
        for column in range(width)
    ]
    return taps[0] if len(taps) == 1 else torch.stack(taps, dim=3).flatten(2)


def _by_position(activations: Tensor, picked: Tensor, groups: int) -> Tensor:
    """Return the activations [N, C, H, W] at the picked positions of H * W, as [G, P, C / G]."""
    images, channels = activations.shape[:2]
    # channels last: what lies together in memory is copied together
    values = activations.permute(0, 2, 3, 1).reshape(images, -1, channels).index_select(1, picked)
    return values.reshape(-1, groups, channels // groups).transpose(0, 1).contiguous()

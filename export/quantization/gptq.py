"""GPTQ-style rounding of a ResNeXt's weights to INT8, layer by layer, on calibration images.

Each convolution is refitted by least squares to the output of the exact one, from the quantized activations
that it will read. Its weights are then rounded one input after the other, and the inputs that remain take
over the error (Frantar et al., *GPTQ: Accurate Post-Training Quantization for Generative Pre-trained
Transformers*, ICLR 2023). Biases take over what is lost on average.
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

from deepfake_triton.console.progress import track_progress
from deepfake_triton.export.quantization.layer_statistics import LayerStatistics, layer_statistics
from deepfake_triton.export.quantization.quant_params import ConvQuantParams
from deepfake_triton.models.resnext import Bottleneck, ResNeXt50

_CHUNK = 16
_MAX_IMAGES = 128
DAMPENING = 0.05
"""Share of the inputs' mean variance that is added to each: how firmly weights are held where the calibration
images say nothing (GPTQ's `percdamp`)."""
BLOCK_SIZE = 64
"""Columns of weights whose rounding error is applied to all later ones at once."""


def quantize_weights_gptq(
    backbone: ResNeXt50, images: Tensor, params: Sequence[ConvQuantParams], *, weight_qmax: int
) -> ResNeXt50:
    """Return a copy of the backbone with weights for INT8; its features have the means of the exact ones.

    `backbone` has no batch norms (see `batch_norm_folding`). `images` [N, 3, S, S] float, as it takes them,
    are used together with their mirror images. `params` are those of its convolutions in execution order. By
    output channel the weights are multiples of a scale; the largest one is `weight_qmax` of them, so that a
    quantizer that takes its scale from the largest weight keeps them as they are.
    """
    result = copy.deepcopy(backbone).eval()
    gptq = LayerwiseGPTQ(dict(zip(_convolutions(result), params, strict=True)), weight_qmax)
    with torch.inference_mode():
        images = images[:_MAX_IMAGES]
        images = torch.cat([images, images.flip(3)]).contiguous(memory_format=torch.channels_last)
        activations = gptq.quantize_conv(result.conv1, _Activations(images, images)).relu()
        pooled = _Activations(result.maxpool(activations.exact), result.maxpool(activations.quantized))
        activations = pooled
        for block in track_progress(
            list(itertools.chain(*result.stages())), "rounding weights (GPTQ)", "blocks"
        ):
            activations = gptq.quantize_block(block, activations)
        error = (activations.exact - activations.quantized).mean(dim=(0, 2, 3))
    result.avgpool = nn.Sequential(result.avgpool, _BiasCorrection(error))
    return result


class _BiasCorrection(nn.Module):
    """Add the mean error [C] of channels to [N, C, H, W], behind the last ReLU where no bias is."""

    correction: Tensor

    def __init__(self, correction: Tensor) -> None:
        super().__init__()
        self.register_buffer("correction", correction.reshape(1, -1, 1, 1).clone())

    def forward(self, activations: Tensor) -> Tensor:
        """Return the corrected activations."""
        return activations + self.correction


@dataclass(frozen=True)
class _Activations:
    """The same activations [N, C, H, W] of the exact network and behind quantized layers."""

    exact: Tensor
    quantized: Tensor

    def relu(self) -> _Activations:
        return _Activations(self.exact.relu_(), self.quantized.relu_())


@dataclass(frozen=True)
class LayerwiseGPTQ:
    """Quantize the weights of a ResNeXt in execution order, each layer on the output of quantized ones."""

    params: Mapping[nn.Conv2d, ConvQuantParams]
    weight_qmax: int
    dampening: float = DAMPENING

    def quantize_block(self, block: Bottleneck, activations: _Activations) -> _Activations:
        """Quantize the block's convolutions; return the outputs of the exact and the quantized block."""
        if block.downsample is None:
            quantized = self.params[block.conv1].input.fake_quantize(activations.quantized)
            shortcut = _Activations(activations.exact, quantized)
        else:
            conv = _downsample_conv(block.downsample)
            shortcut = self.quantize_conv(conv, activations)
            quantized = self.params[conv].output.fake_quantize(shortcut.quantized)
            shortcut = _Activations(shortcut.exact, quantized)
        inner = self.quantize_conv(block.conv1, activations).relu()
        inner = self.quantize_conv(block.conv2, inner).relu()
        inner = self.quantize_conv(block.conv3, inner)  # not quantized before the addition
        return _Activations(inner.exact + shortcut.exact, inner.quantized + shortcut.quantized).relu()

    def quantize_conv(self, conv: nn.Conv2d, activations: _Activations) -> _Activations:
        """Replace the convolution's weights; return the outputs of the old and the new ones."""
        inputs = self.params[conv].input.fake_quantize(activations.quantized)
        exact = _forward(conv, activations.exact)
        self._replace_weights(conv, layer_statistics(conv, inputs, exact))
        return _Activations(exact, _forward(conv, inputs))

    def _replace_weights(self, conv: nn.Conv2d, statistics: LayerStatistics) -> None:
        """Set the weights and bias that make the exact outputs of quantized inputs."""
        before = conv.weight.double().reshape(conv.groups, conv.weight.shape[0] // conv.groups, -1)
        hessian = statistics.input_covariance
        damping = self.dampening * hessian.diagonal(dim1=1, dim2=2).mean(dim=1)[:, None, None] + 1e-9
        hessian.diagonal(dim1=1, dim2=2).add_(damping[:, :, 0])
        inverse = torch.cholesky_inverse(torch.linalg.cholesky(hessian))
        fitted = (statistics.cross_covariance + before * damping) @ inverse
        weights = torch.from_numpy(quantize_columns(fitted.numpy(), inverse.numpy(), qmax=self.weight_qmax))
        bias = statistics.output_mean - (weights @ statistics.input_mean[:, :, None])[:, :, 0]
        assert conv.bias is not None  # folding gives every convolution one
        conv.weight.copy_(weights.reshape(conv.weight.shape))
        conv.bias.copy_(bias.reshape(-1))


def quantize_columns(
    weights: npt.NDArray[np.float64], inverse_hessian: npt.NDArray[np.float64], *, qmax: int
) -> npt.NDArray[np.float64]:
    """Return weights [G, O, K] rounded to multiples of a scale by output, at most `qmax` of them.

    `inverse_hessian` [G, K, K] is the inverse of the inputs' covariance. The scale of an output is its
    largest weight over `qmax`; that weight stays as it is. Frantar et al. 2023, algorithm 1.
    """
    largest = np.abs(weights).argmax(axis=2)
    scale = np.maximum(np.abs(weights).max(axis=2), 1e-12) / qmax
    lower = np.linalg.cholesky(inverse_hessian)
    diagonal = np.diagonal(lower, axis1=1, axis2=2)
    remaining = np.ascontiguousarray(weights.transpose(0, 2, 1))  # [G, K, O]: the outputs lie together
    result, errors = np.empty_like(remaining), np.empty_like(remaining)
    columns = weights.shape[2]
    for start in range(0, columns, BLOCK_SIZE):
        end = min(start + BLOCK_SIZE, columns)
        for column in range(start, end):
            absorbed = (lower[:, column, None, start:column] @ errors[:, start:column])[:, 0]
            values = remaining[:, column] - absorbed
            levels = np.clip(np.rint(values / scale), -qmax, qmax)
            levels = np.where(largest == column, np.sign(weights[:, :, column]) * qmax, levels)
            result[:, column] = levels * scale
            errors[:, column] = (values - result[:, column]) / diagonal[:, column, None]
        remaining[:, end:] -= lower[:, end:, start:end] @ errors[:, start:end]
    return result.transpose(0, 2, 1)


def _forward(conv: nn.Conv2d, activations: Tensor) -> Tensor:
    return torch.cat([conv(chunk) for chunk in torch.split(activations, _CHUNK)])


def _convolutions(backbone: ResNeXt50) -> list[nn.Conv2d]:
    """List all convolutions in execution order, a block's shortcut first as in the exported graph."""
    found = [backbone.conv1]
    for block in itertools.chain(*backbone.stages()):
        if block.downsample is not None:
            found.append(_downsample_conv(block.downsample))
        found += [block.conv1, block.conv2, block.conv3]
    return found


def _downsample_conv(downsample: nn.Module) -> nn.Conv2d:
    conv = downsample.get_submodule("0")
    assert isinstance(conv, nn.Conv2d)
    return conv

"""A feature extractor whose first convolution reads pixels: INT8 holds uint8 values without rounding."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from deepfake_triton.models.metadata import ModelMetadata
from deepfake_triton.models.networks import FeatureExtractor
from deepfake_triton.models.resnext import ResNeXt50

_ZERO_POINT = 128
"""Value that is subtracted from a uint8 pixel to make it an int8 one."""


class Uint8InputExtractor(FeatureExtractor):
    """A feature extractor whose backbone reads pixels - 128, with explicit padding around them."""

    padding_pixel: Tensor

    def __init__(self, backbone: ResNeXt50, metadata: ModelMetadata, padding: int) -> None:
        super().__init__(backbone, metadata)
        self.padding = padding
        self.register_buffer("padding_pixel", torch.round(255 * self.mean).clamp(0, 255))

    def preprocess(self, pixels: Tensor) -> Tensor:
        """Return crops [N, S, S, 3] float RGB in 0…255 as integers [N, 3, S + 2 padding, S + 2 padding].

        The values are in -128…127. The padding has the pixel nearest to what normalization maps to zero.
        """
        images = pixels.permute(0, 3, 1, 2)
        if self.reverse_channels:
            images = images.flip(1)
        padded: Tensor = _ZeroPadding.apply(images - self.padding_pixel, self.padding)  # type: ignore[no-untyped-call]
        return padded + (self.padding_pixel - _ZERO_POINT)


class _ZeroPadding(torch.autograd.Function):
    """Zero padding that is one ONNX node: torch's own is exported as ten that compute its size."""

    @staticmethod
    def forward(_: Any, images: Tensor, padding: int) -> Tensor:
        """[N, C, H, W] to [N, C, H + 2 padding, W + 2 padding]."""
        return functional.pad(images, (padding,) * 4)

    @staticmethod
    def symbolic(graph: Any, images: Any, padding: int) -> Any:
        """Return the ONNX node."""
        sides = torch.tensor([0, 0, padding, padding] * 2)
        return graph.op("Pad", images, graph.op("Constant", value_t=sides))


def uint8_input_extractor(backbone: ResNeXt50, metadata: ModelMetadata) -> Uint8InputExtractor:
    """Return an extractor with the features of a backbone without batch norms (see `batch_norm_folding`).

    The normalization of pixels becomes part of the first convolution's weights and bias.
    """
    result = copy.deepcopy(backbone).eval()
    first = result.conv1
    assert first.bias is not None  # folding gives every convolution one
    extractor = Uint8InputExtractor(result, metadata, int(first.padding[0]))
    first.padding = (0, 0)
    with torch.no_grad():
        first.weight.div_(255 * extractor.std)
        first.bias.add_((first.weight * (_ZERO_POINT - 255 * extractor.mean)).sum(dim=(1, 2, 3)))
    return extractor.eval().requires_grad_(False)

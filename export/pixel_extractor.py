"""The feature extractor for INT8, whose first convolution reads pixels: 8 bits hold them as they are."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from deepfake_triton.export.backbone import ResNeXt50
from deepfake_triton.export.facts import ModelFacts
from deepfake_triton.export.networks import FeatureExtractor

_MIDDLE = 128
"""What is taken from a pixel of 0…255 to make it one of -128…127."""


class PixelExtractor(FeatureExtractor):
    """One whose backbone reads whole numbers, with a margin of its own around them."""

    zero: Tensor

    def __init__(self, backbone: ResNeXt50, facts: ModelFacts, margin: int) -> None:
        super().__init__(backbone, facts)
        self.margin = margin
        self.register_buffer("zero", torch.round(255 * self.mean).clamp(0, 255))

    def pictures(self, pixels: Tensor) -> Tensor:
        """Crops [N, S, S, 3] float RGB in 0…255 to whole numbers [N, 3, S + 2 margins, S + 2 margins].

        The margin has the pixel that normalisation takes to zero, or the next that there is.
        """
        pictures = pixels.permute(0, 3, 1, 2)
        if self.reverse_channels:
            pictures = pictures.flip(1)
        framed: Tensor = _Margin.apply(pictures - self.zero, self.margin)  # type: ignore[no-untyped-call]
        return framed + (self.zero - _MIDDLE)


class _Margin(torch.autograd.Function):
    """Zeros around pictures as one node of ONNX: torch's own padding computes their number in ten."""

    @staticmethod
    def forward(_: Any, pictures: Tensor, margin: int) -> Tensor:
        """[N, C, H, W] to [N, C, H + 2 margins, W + 2 margins]."""
        return functional.pad(pictures, (margin,) * 4)

    @staticmethod
    def symbolic(graph: Any, pictures: Any, margin: int) -> Any:
        """The same for the exporter."""
        sides = torch.tensor([0, 0, margin, margin] * 2)
        return graph.op("Pad", pictures, graph.op("Constant", value_t=sides))


def pixel_extractor(backbone: ResNeXt50, facts: ModelFacts) -> PixelExtractor:
    """One that gives the features of a folded backbone, whose normalisation becomes part of the weights."""
    result = copy.deepcopy(backbone).eval()
    first = result.conv1
    assert first.bias is not None  # a folded backbone's
    extractor = PixelExtractor(result, facts, int(first.padding[0]))
    first.padding = (0, 0)
    with torch.no_grad():
        first.weight.div_(255 * extractor.std)
        first.bias.add_((first.weight * (_MIDDLE - 255 * extractor.mean)).sum(dim=(1, 2, 3)))
    return extractor.eval().requires_grad_(False)

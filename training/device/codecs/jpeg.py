"""JPEG round trips of a batch, each picture in its own quality, as libjpeg makes them with 4:2:0 colors."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from deepfake_triton.training.device.codecs.blocks import (
    halve,
    planes_from_blocks,
    rgb_from_ycc,
    transform_blocks,
    ycc_from_rgb,
)
from deepfake_triton.training.device.constants import per_device

# ITU-T T.81, tables K.1 and K.2.
_LUMA_STEPS = """
16 11 10 16 24 40 51 61  12 12 14 19 26 58 60 55  14 13 16 24 40 57 69 56  14 17 22 29 51 87 80 62
18 22 37 56 68 109 103 77  24 35 55 64 81 104 113 92  49 64 78 87 103 121 120 101  72 92 95 98 112 100 103 99
"""
_CHROMA_STEPS = (
    """
17 18 24 47 99 99 99 99  18 21 26 66 99 99 99 99  24 26 56 99 99 99 99 99  47 66 99 99 99 99 99 99
"""
    + 32 * " 99"
)
_BLOCK = 8


def _steps(text: str) -> Tensor:
    return torch.tensor([float(word) for word in text.split()]).reshape(_BLOCK, _BLOCK)


_LUMA, _CHROMA = per_device(lambda: _steps(_LUMA_STEPS)), per_device(lambda: _steps(_CHROMA_STEPS))


def jpeg_round_trips(image: Tensor, quality: Tensor) -> Tensor:
    """Compress `image` [N, 3, H, W] in 0…255, of sides divisible by 16, at qualities [N] of 1…100."""
    percent = torch.where(quality < 50, (5000 / quality).floor(), 200 - 2 * quality)[:, None, None]
    planes = ycc_from_rgb(image).round()
    luma = _compress(planes[:, :1] - 128, _LUMA(image.device), percent) + 128
    chroma = _compress(halve(planes[:, 1:]).round(), _CHROMA(image.device), percent)
    full = F.interpolate(chroma, scale_factor=2.0, mode="bilinear", align_corners=False)
    return rgb_from_ycc(torch.cat([luma.clamp(0, 255), full.clamp(-128, 127)], 1)).round().clamp(0, 255)


def _compress(planes: Tensor, table: Tensor, percent: Tensor) -> Tensor:
    steps = ((table * percent + 50) / 100).floor().clamp(1, 255)[:, None, None, None]
    levels = (transform_blocks(planes, _BLOCK) / steps).round()
    return planes_from_blocks(levels * steps).round()

"""Architectures of the networks by name, for recipes, which need no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

RegeneratorName = Literal[
    "autoencoder-nearest",
    "upsampler-nearest",
    "autoencoder-transposed",
    "upsampler-transposed",
    "autoencoder-shuffle",
    "upsampler-shuffle",
    "autoencoder-bilinear",
    "upsampler-bilinear",
]
REGENERATORS: tuple[RegeneratorName, ...] = get_args(RegeneratorName)
Upsampling = Literal["nearest", "bilinear", "transposed", "shuffle"]


@dataclass(frozen=True)
class RegeneratorSpec:
    """Architecture of a network from pictures of `input_px` to pictures of `output_px` a side.

    `code_channels` is the depth of an autoencoder's code, None for an upsampler of shrunk faces.
    """

    input_px: int
    output_px: int
    upsampling: Upsampling
    code_channels: int | None = None


SPECS: Mapping[RegeneratorName, RegeneratorSpec] = {
    "autoencoder-nearest": RegeneratorSpec(96, 96, "nearest", 24),
    "upsampler-nearest": RegeneratorSpec(56, 112, "nearest"),
    "autoencoder-transposed": RegeneratorSpec(64, 64, "transposed", 40),
    "upsampler-transposed": RegeneratorSpec(40, 120, "transposed"),
    "autoencoder-shuffle": RegeneratorSpec(128, 128, "shuffle", 12),
    "upsampler-shuffle": RegeneratorSpec(32, 128, "shuffle"),
    "autoencoder-bilinear": RegeneratorSpec(112, 112, "bilinear", 32),
    "upsampler-bilinear": RegeneratorSpec(36, 108, "bilinear"),
}

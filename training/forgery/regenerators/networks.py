"""Small networks that redraw a face: autoencoders, and upsamplers of a shrunk face.

An autoencoder keeps a thumbnail of the face, and a narrow code of what the thumbnail lacks. Each network
upsamples in another way, and so leaves other traces in what it draws: nearest or bilinear interpolation
before a convolution, transposed convolutions, and pixel shuffle.
"""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F

from deepfake_triton.arrays import Image
from deepfake_triton.errors import DatasetError
from deepfake_triton.training.forgery.regenerators.specs import (
    SPECS,
    RegeneratorName,
    RegeneratorSpec,
    Upsampling,
)

REGENERATOR_WEIGHTS = Path(__file__).with_name("regenerators.safetensors")
_CODE_CELL_PX = 8  # of the input, per side of one place of an autoencoder's code
_THUMBNAIL_SCALE = 3 / 8  # an autoencoder keeps a thumbnail beside its code, which holds what that lacks
_ENCODER_CHANNELS = (3, 16, 32, 64)
_DECODER_CHANNELS = (64, 48, 32, 16)
_SHUFFLE_DECODER_CHANNELS = (48, 24, 16, 12)  # its convolutions have four times as many
_UPSAMPLER_CHANNELS = 24
_SLOPE = 0.1


class Regenerator(nn.Module):
    """Network from faces [N, 3, input_px, input_px] to [N, 3, output_px, output_px], RGB in -1…1."""

    def __init__(self, spec: RegeneratorSpec) -> None:
        super().__init__()
        self.spec = spec
        self.layers = _autoencoder(spec, spec.code_channels) if spec.code_channels else _upsampler(spec)

    def forward(self, faces: torch.Tensor) -> torch.Tensor:
        """Redraw the faces."""
        base, side = faces, self.spec.output_px
        if self.spec.code_channels:
            thumbnail_px = round(self.spec.input_px * _THUMBNAIL_SCALE)
            base = F.interpolate(faces, (thumbnail_px, thumbnail_px), mode="area")
        drawn: torch.Tensor = self.layers(faces)
        return drawn + F.interpolate(base, (side, side), mode="bilinear", align_corners=False)


@cache
def load_regenerator(name: RegeneratorName) -> Regenerator:
    """Return a network with the shipped weights, for inference on the CPU, loaded once per process.

    Raises DatasetError when the weights are not installed.
    """
    if not REGENERATOR_WEIGHTS.is_file():
        raise DatasetError(
            f"{REGENERATOR_WEIGHTS}: the weights are not installed; write them there with "
            "`dataset regenerators`, or leave the kinds regenerate and render-mouth out"
        )
    model = Regenerator(SPECS[name])
    model.load_state_dict(state_of(name, load_file(REGENERATOR_WEIGHTS)))
    return model.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def state_of(name: RegeneratorName, weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return one network's state dict in FP32 from the weights of all, whose keys begin with its name."""
    prefix = f"{name}."
    return {
        key.removeprefix(prefix): value.float() for key, value in weights.items() if key.startswith(prefix)
    }


def redraw_face(face: Image, name: RegeneratorName) -> Image:
    """Redraw an aligned face [input_px, input_px, 3] uint8 RGB as [output_px, output_px, 3]."""
    with torch.inference_mode():
        batch = torch.from_numpy(face).permute(2, 0, 1)[None].to(torch.float32).div_(127.5).sub_(1)
        drawn = load_regenerator(name)(batch.contiguous(memory_format=torch.channels_last))[0]
        values = drawn.permute(1, 2, 0).add_(1).mul_(127.5).round_().clamp_(0, 255)
        return np.ascontiguousarray(values.to(torch.uint8).numpy())


def _autoencoder(spec: RegeneratorSpec, code_channels: int) -> nn.Sequential:
    assert spec.input_px == spec.output_px and spec.input_px % _CODE_CELL_PX == 0
    up = _SHUFFLE_DECODER_CHANNELS if spec.upsampling == "shuffle" else _DECODER_CHANNELS
    layers: list[nn.Module] = []
    for before, after in pairwise(_ENCODER_CHANNELS):
        layers += [nn.Conv2d(before, after, 3, 2, 1), nn.LeakyReLU(_SLOPE)]
    layers += [nn.Conv2d(_ENCODER_CHANNELS[-1], code_channels, 1), nn.Conv2d(code_channels, up[0], 1)]
    for before, after in pairwise(up):
        layers += [*_upsample(before, after, factor=2, how=spec.upsampling), nn.LeakyReLU(_SLOPE)]
    return nn.Sequential(*layers, nn.Conv2d(up[-1], 3, 3, 1, 1))


def _upsampler(spec: RegeneratorSpec) -> nn.Sequential:
    width = _UPSAMPLER_CHANNELS
    layers: list[nn.Module] = [nn.Conv2d(3, width, 5, 1, 2), nn.LeakyReLU(_SLOPE)]
    for _ in range(3):
        layers += [nn.Conv2d(width, width, 3, 1, 1), nn.LeakyReLU(_SLOPE)]
    factor = spec.output_px // spec.input_px
    fine = width // (4 if spec.upsampling == "shuffle" else 2)
    layers += [*_upsample(width, fine, factor=factor, how=spec.upsampling), nn.LeakyReLU(_SLOPE)]
    return nn.Sequential(*layers, nn.Conv2d(fine, 3, 3, 1, 1))


def _upsample(before: int, after: int, *, factor: int, how: Upsampling) -> list[nn.Module]:
    if how == "transposed":
        # The stride does not divide the kernel: its uneven overlap draws the known checkerboard.
        odd = (factor - 1) % 2
        padding = (factor - 1 + odd) // 2
        return [nn.ConvTranspose2d(before, after, 2 * factor - 1, factor, padding, odd)]
    if how == "shuffle":
        return [nn.Conv2d(before, after * factor**2, 3, 1, 1), nn.PixelShuffle(factor)]
    return [nn.Upsample(scale_factor=factor, mode=how), nn.Conv2d(before, after, 3, 1, 1)]

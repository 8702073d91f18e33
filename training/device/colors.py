"""Color jitter and color transfer of a batch, in the steps and roundings of `training.forgery.colors`."""

from __future__ import annotations

import torch
from torch import Tensor

from deepfake_triton.training.device.constants import per_device

_FEWEST_PIXELS = 16
_WHITE = (0.950456, 1.0, 1.088754)  # D65, as in OpenCV
_XYZ = [[0.412453, 0.357580, 0.180423], [0.212671, 0.715160, 0.072169], [0.019334, 0.119193, 0.950227]]
_BREAK, _SLOPE, _OFFSET = 0.008856, 7.787, 16 / 116


def _xyz_matrix() -> Tensor:
    """Return X, Y and Z of linear sRGB, relative to white."""
    return torch.tensor(_XYZ, dtype=torch.float64) / torch.tensor(_WHITE, dtype=torch.float64)[:, None]


_XYZ_FROM_RGB = per_device(lambda: _xyz_matrix().float())
_RGB_FROM_XYZ = per_device(lambda: torch.linalg.inv(_xyz_matrix()).float())


def mix_channels(image: Tensor, matrix: Tensor) -> Tensor:
    """Return `image` [N, 3, H, W] with its channels mixed by `matrix` [3, 3] or [N, 3, 3]."""
    n, _, height, width = image.shape
    return torch.matmul(matrix, image.reshape(n, 3, height * width)).reshape(image.shape)


def jitter_colors(image: Tensor, matrix: Tensor, gamma: Tensor) -> Tensor:
    """Apply an affine transform of RGB [N, 3, 4] and a gamma curve [N] to `image` [N, 3, H, W] in 0…255."""
    out = mix_channels(image, matrix[:, :, :3]) + matrix[:, :, 3, None, None]
    out = out.round().clamp(0, 255)
    return (255 * (out / 255) ** gamma[:, None, None, None]).round()


def transfer_colors(source: Tensor, reference: Tensor, mask: Tensor) -> Tensor:
    """Give `source` the mean and standard deviation of the reference's Lab channels inside the mask.

    Both images are [N, 3, H, W] in 0…255, the mask [N, H, W] in 0…1.
    """
    inside = (mask > 0.5).float()[:, None]
    count = inside.sum((2, 3), keepdim=True)
    source_lab, reference_lab = lab_from_rgb(source), lab_from_rgb(reference)
    mean, std = _statistics(source_lab, inside, count)
    target_mean, target_std = _statistics(reference_lab, inside, count)
    gain = ((target_std + 1) / (std + 1)).clamp(0.5, 2.0)
    transferred = ((source_lab - mean) * gain + target_mean).clamp(0, 255).floor()
    return torch.where(count < _FEWEST_PIXELS, source, rgb_from_lab(transferred))


def _statistics(image: Tensor, inside: Tensor, count: Tensor) -> tuple[Tensor, Tensor]:
    total = count.clamp(min=1)
    mean = (image * inside).sum((2, 3), keepdim=True) / total
    variance = ((image - mean) ** 2 * inside).sum((2, 3), keepdim=True) / total
    return mean, variance.sqrt()


def lab_from_rgb(image: Tensor) -> Tensor:
    """Return CIE Lab [N, 3, H, W] of sRGB in 0…255, on OpenCV's 8-bit scale, rounded to whole numbers."""
    value = image / 255
    linear = torch.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    xyz = mix_channels(linear, _XYZ_FROM_RGB(image.device))
    root = torch.where(xyz > _BREAK, xyz.clamp(min=_BREAK) ** (1 / 3), _SLOPE * xyz + _OFFSET)
    x, y, z = root.unbind(1)
    lightness = (116 * y - 16) * 2.55
    return torch.stack([lightness, 500 * (x - y) + 128, 200 * (y - z) + 128], 1).round().clamp(0, 255)


def rgb_from_lab(lab: Tensor) -> Tensor:
    """Return sRGB [N, 3, H, W] in 0…255, whole numbers, of Lab on OpenCV's 8-bit scale."""
    lightness, a, b = lab.unbind(1)
    y = (lightness / 2.55 + 16) / 116
    root = torch.stack([y + (a - 128) / 500, y, y - (b - 128) / 200], 1)
    xyz = torch.where(root > _BREAK ** (1 / 3), root**3, (root - _OFFSET) / _SLOPE)
    linear = mix_channels(xyz, _RGB_FROM_XYZ(lab.device)).clamp(0, 1)
    curve = 1.055 * linear.clamp(min=1e-6) ** (1 / 2.4) - 0.055
    return (255 * torch.where(linear <= 0.0031308, 12.92 * linear, curve)).round().clamp(0, 255)

"""Block transforms and color planes that image and video codecs share."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from deepfake_triton.training.device.colors import mix_channels
from deepfake_triton.training.device.constants import per_device


def _ycc_matrix() -> Tensor:
    """Return Y, Cb and Cr of RGB (BT.601, full range), without the offset of the color differences."""
    rows = [[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]]
    return torch.tensor(rows)


def _dct_matrix(side: int) -> Tensor:
    place = torch.arange(side, dtype=torch.float64)
    matrix = torch.cos((2 * place + 1) * place[:, None] * math.pi / (2 * side)) * math.sqrt(2 / side)
    matrix[0] /= math.sqrt(2)
    return matrix.float()


_YCC = per_device(_ycc_matrix)
_RGB = per_device(lambda: torch.linalg.inv(_ycc_matrix().double()).float())
_DCT = {side: per_device(lambda side=side: _dct_matrix(side)) for side in (4, 8)}  # type: ignore[misc]


def ycc_from_rgb(image: Tensor) -> Tensor:
    """Return Y in 0…255, Cb and Cr in about -128…127, [N, 3, H, W]."""
    return mix_channels(image, _YCC(image.device))


def rgb_from_ycc(planes: Tensor) -> Tensor:
    """Return RGB, neither rounded nor clipped."""
    return mix_channels(planes, _RGB(planes.device))


def halve(planes: Tensor) -> Tensor:
    """Average 2 × 2 px, as 4:2:0 does with colors."""
    return F.avg_pool2d(planes, 2)


def transform_blocks(planes: Tensor, side: int) -> Tensor:
    """Return the cosine transform [N, C, H/b, W/b, b, b] of blocks of `side` px."""
    n, channels, height, width = planes.shape
    blocks = planes.reshape(n, channels, height // side, side, width // side, side).transpose(3, 4)
    dct = _DCT[side](planes.device)
    return dct @ blocks @ dct.T


def planes_from_blocks(coefficients: Tensor) -> Tensor:
    """Return the planes [N, C, H, W] of what `transform_blocks` returned."""
    n, channels, rows, columns, side, _ = coefficients.shape
    dct = _DCT[side](coefficients.device)
    blocks = dct.T @ coefficients @ dct
    return blocks.transpose(3, 4).reshape(n, channels, rows * side, columns * side)

"""Frames as from the middle of an H.264 video, without an encoder.

Like the second frame of `codec.h264_round_trip_stills`: predicted from a coarse picture of itself that moved
by two pixels, its residual transformed and quantized with a dead zone, and its block edges smoothed where
something was coded. There are no decisions between modes by rate, which x264 makes.
"""

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

_SHIFT_PX = 2
_LUMA_RANGE, _CHROMA_RANGE = 219 / 255, 224 / 255
_CHROMA_QP_OFFSET = -2.0
_INTRA_DEAD_ZONE, _INTER_DEAD_ZONE = 1 / 3, 1 / 6
_LUMA_BLOCK, _CHROMA_BLOCK = 8, 4
_DROPPED_LEVELS = {4: 1, 8: 3}
"""Blocks whose levels sum up to no more than this are left out: they cost more than they show."""


def h264_frames(image: Tensor, crf: Tensor) -> Tensor:
    """Compress `image` [N, 3, H, W] in 0…255, of sides divisible by 16, at rate factors [N] of 0…51."""
    qp = _qp_from_crf(crf)
    planes = ycc_from_rgb(image)
    luma = _code(planes[:, :1] * _LUMA_RANGE, qp, shift=_SHIFT_PX, block=_LUMA_BLOCK) / _LUMA_RANGE
    chroma_qp = _chroma_qp(qp + _CHROMA_QP_OFFSET)
    halved = halve(planes[:, 1:]) * _CHROMA_RANGE
    chroma = _code(halved, chroma_qp, shift=_SHIFT_PX // 2, block=_CHROMA_BLOCK) / _CHROMA_RANGE
    full = F.interpolate(chroma, scale_factor=2.0, mode="nearest")
    return rgb_from_ycc(torch.cat([luma, full], 1)).round().clamp(0, 255)


def _qp_from_crf(crf: Tensor) -> Tensor:
    """Return the quantizer at which faces lose as much as they do in x264 at a rate factor (measured)."""
    return crf + 0.25 * (28 - crf).clamp(min=0) - 0.12 * (crf - 28).clamp(0, 11)


def _chroma_qp(qp: Tensor) -> Tensor:
    """Return the quantizer of colors, which grows slower above 30 (ITU-T H.264, table 8-15)."""
    return torch.where(qp > 30, 30 + 0.55 * (qp - 30), qp)


def _code(planes: Tensor, qp: Tensor, *, shift: int, block: int) -> Tensor:
    """Code the moved planes, then these, predicted from what the first became."""
    before = torch.roll(planes.round(), (shift, shift), (2, 3))
    coarse = _predict_within(before, block)
    residual, _ = _quantize(before - coarse, qp, block=block, dead_zone=_INTRA_DEAD_ZONE)
    first = _deblock((coarse + residual).round(), qp, block=block, coded=None)
    predicted = torch.roll(first, (-shift, -shift), (2, 3))
    residual, coded = _quantize(planes.round() - predicted, qp, block=block, dead_zone=_INTER_DEAD_ZONE)
    return _deblock((predicted + residual).round(), qp, block=block, coded=coded)


def _predict_within(planes: Tensor, block: int) -> Tensor:
    """Return what stands for the prediction of blocks from their neighbors: half of it smooth, half flat."""
    means, scale = F.avg_pool2d(planes, block), float(block)
    smooth = F.interpolate(means, scale_factor=scale, mode="bilinear", align_corners=False)
    return 0.5 * (smooth + F.interpolate(means, scale_factor=scale, mode="nearest"))


def _quantize(residual: Tensor, qp: Tensor, *, block: int, dead_zone: float) -> tuple[Tensor, Tensor]:
    """Return the residual that is left, and which blocks [N, C, H/b, W/b] have any."""
    step = (0.625 * 2 ** (qp / 6)).reshape(-1, 1, 1, 1, 1, 1)
    coefficients = transform_blocks(residual, block)
    levels = torch.sign(coefficients) * torch.floor(coefficients.abs() / step + dead_zone)
    levels = levels * (levels.abs().sum((4, 5), keepdim=True) > _DROPPED_LEVELS[block])
    return planes_from_blocks(levels * step), levels.abs().amax((4, 5)) > 0


def _deblock(planes: Tensor, qp: Tensor, *, block: int, coded: Tensor | None) -> Tensor:
    """Smooth both directions' block edges, as H.264's normal filter does, where a side of them is coded."""
    across = _deblock_columns(planes, qp, block=block, coded=coded)
    turned = None if coded is None else coded.transpose(2, 3)
    return _deblock_columns(across.transpose(2, 3), qp, block=block, coded=turned).transpose(2, 3)


def _deblock_columns(planes: Tensor, qp: Tensor, *, block: int, coded: Tensor | None) -> Tensor:
    level = qp.reshape(-1, 1, 1, 1, 1)
    alpha, beta = 0.8 * (2 ** (level / 6) - 1), (0.5 * level - 7).clamp(min=0)
    limit = (0.06 * 2 ** (level / 6.5)).clamp(max=10)
    n, channels, height, width = planes.shape
    blocks = planes.reshape(n, channels, height, width // block, block)
    left, right = blocks[:, :, :, :-1], blocks[:, :, :, 1:]
    p1, p0, q0, q1 = left[..., -2:-1], left[..., -1:], right[..., :1], right[..., 1:2]
    smooth = ((p0 - q0).abs() < alpha) & ((p1 - p0).abs() < beta) & ((q1 - q0).abs() < beta)
    if coded is not None:
        either = coded[..., :-1] | coded[..., 1:]
        smooth = smooth & either.repeat_interleave(block, 2)[..., None]
    delta = (((q0 - p0) * 4 + (p1 - q1)) / 8).clamp(-limit, limit) * smooth
    change = torch.zeros_like(blocks)
    change[:, :, :, :-1, -1:] += delta
    change[:, :, :, 1:, :1] -= delta
    return (blocks + change).reshape(planes.shape)

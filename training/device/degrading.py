"""Degrade both pictures of pairs alike, in the order of `training.augmentation.degradations`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from deepfake_triton.preprocessing.crops import CropRule
from deepfake_triton.training.augmentation.degradations import SMALLEST_CHROMA_PX, SMALLEST_SIDE_PX
from deepfake_triton.training.augmentation.motion_blur import MotionBlur
from deepfake_triton.training.augmentation.pair_draws import VIEW_PER_CROP
from deepfake_triton.training.device.codecs.blocks import rgb_from_ycc, ycc_from_rgb
from deepfake_triton.training.device.codecs.h264_frame import h264_frames
from deepfake_triton.training.device.codecs.jpeg import jpeg_round_trips
from deepfake_triton.training.device.colors import jitter_colors
from deepfake_triton.training.device.filters import (
    apply_square,
    area_matrix,
    gaussian_matrix,
    linear_matrix,
)
from deepfake_triton.training.device.pair_table import PairTable, Parameters, Values

_REACH = 3

Step = Callable[[Tensor, Parameters], Tensor]


@dataclass(frozen=True)
class StepRows:
    """Numbers [M] of the pairs that a step applies to; the other steps apply to all, or change nothing.

    `kernels` [M, K, K] are those of `motion`.
    """

    motion: Tensor
    kernels: Tensor
    earlier: Tensor
    chroma: Tensor
    jpeg: Tensor
    h264: Tensor


def motion_kernels(table: PairTable, rule: CropRule) -> Values:
    """Return the kernels [M, K, K] of the rows with motion blur, sized by the crop as in the CPU's views."""
    blurred = table["motion_blur"].any(axis=1)
    views_px = VIEW_PER_CROP * (1 + 2 * rule.margin) * table["face_px"][blurred]
    kernels = [
        MotionBlur(length, angle_degrees=angle, bend_degrees=bend, defocus=defocus).kernel(view_px)
        for (length, angle, bend, defocus), view_px in zip(
            table["motion_blur"][blurred].tolist(), views_px.tolist(), strict=True
        )
    ]
    largest = max((len(kernel) for kernel in kernels), default=1)
    padded = [np.pad(kernel, (largest - len(kernel)) // 2) for kernel in kernels]
    return np.stack(padded) if padded else np.zeros((0, 1, 1), np.float32)


def degrade_pairs(
    images: Tensor, rows: Parameters, steps: StepRows, *, noise: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Degrade `images` [2N, 3, S, S] in 0…255: all real ones, then their fake counterparts.

    Returns them, and what became of their scale [N]: a smaller picture is at the upper left, and its last
    pixels repeat.
    """
    side = images.shape[-1]
    if len(steps.motion):
        chosen = _both(steps.motion, len(rows))
        blurred = _convolve(images[chosen], torch.cat([steps.kernels] * 2))
        images = images.index_copy(0, chosen, blurred)
    images = jitter_colors(images, _twice(rows["all_color_matrix"]), _twice(rows["all_gamma"]))
    if len(steps.earlier):
        images = _apply_to(images, steps.earlier, rows, step=_compress_earlier)
    small = (side * rows["all_scale"]).round().clamp(min=SMALLEST_SIDE_PX)
    images = apply_square(images, _twice(area_matrix(small, side))).round()
    images = apply_square(images, _twice(gaussian_matrix(rows["blur_px"], side, reach=_REACH))).round()
    grain = torch.randn(len(rows), *images.shape[1:], generator=noise, device=images.device)
    images = (images + _twice(rows["noise"][:, None, None, None] * grain)).round().clamp(0, 255)
    if len(steps.chroma):
        images = _apply_to(images, steps.chroma, rows, step=_blur_chroma)
    if len(steps.jpeg):
        images = _apply_to(images, steps.jpeg, rows, step=_compress_jpeg)
    if len(steps.h264):
        images = _apply_to(images, steps.h264, rows, step=_compress_h264)
    return images, small / side


def _twice(values: Tensor) -> Tensor:
    return torch.cat([values, values])


def _both(chosen: Tensor, pairs: int) -> Tensor:
    """Return the numbers of both pictures of the chosen pairs."""
    return torch.cat([chosen, chosen + pairs])


def _convolve(images: Tensor, kernels: Tensor) -> Tensor:
    """Filter each picture [N, 3, H, W] with its own kernel [N, K, K]."""
    n, channels, height, width = images.shape
    reach = kernels.shape[-1] // 2
    padded = F.pad(images, (reach, reach, reach, reach), mode="replicate")
    planes = padded.reshape(1, n * channels, *padded.shape[2:])
    weights = kernels.repeat_interleave(channels, 0)[:, None]
    return F.conv2d(planes, weights, groups=n * channels).reshape(n, channels, height, width).round()


def _compress_earlier(images: Tensor, rows: Parameters) -> Tensor:
    """Scale down, compress as JPEG, and enlarge again."""
    side = images.shape[-1]
    small = (side * rows["earlier_scale"]).round().clamp(min=SMALLEST_SIDE_PX)
    images = apply_square(images, area_matrix(small, side)).round()
    images = jpeg_round_trips(images, rows["earlier_quality"])
    return apply_square(images, linear_matrix(small, side)).round()


def _blur_chroma(images: Tensor, rows: Parameters) -> Tensor:
    """Resample the color planes through a lower resolution; the luma stays."""
    side = images.shape[-1]
    actual = (side * rows["all_scale"]).round().clamp(min=SMALLEST_SIDE_PX)
    small = (actual * rows["chroma_scale"]).round().clamp(min=SMALLEST_CHROMA_PX) * side / actual
    planes = ycc_from_rgb(images)
    chroma = apply_square(planes[:, 1:], area_matrix(small.round(), side))
    chroma = apply_square(chroma, linear_matrix(small.round(), side))
    return rgb_from_ycc(torch.cat([planes[:, :1], chroma], 1)).round().clamp(0, 255)


def _compress_jpeg(images: Tensor, rows: Parameters) -> Tensor:
    return jpeg_round_trips(images, rows["jpeg_quality"])


def _compress_h264(images: Tensor, rows: Parameters) -> Tensor:
    return h264_frames(images, rows["h264_crf"])


def _apply_to(images: Tensor, chosen: Tensor, rows: Parameters, *, step: Step) -> Tensor:
    """Return `images` with a step applied to both pictures of the chosen pairs."""
    both = _both(chosen, len(rows))
    own = Parameters(_twice(rows.values[chosen]))
    return images.index_copy(0, both, step(images[both], own))

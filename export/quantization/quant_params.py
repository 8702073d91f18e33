"""Affine INT8 quantization parameters of one tensor: scale and zero point."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

QMIN, QMAX = -128, 127
"""Smallest and largest quantized value of INT8."""


@dataclass(frozen=True)
class QuantParams:
    """Scale and zero point of a tensor: `q = clip(round(x / scale) + zero_point, QMIN, QMAX)`.

    The zero point is 0 (symmetric quantization), or QMIN for an activation behind a ReLU: its values are
    never negative, so that all 256 levels lie above zero. A graph holds the latter as a shift that is folded
    into biases (see `relu_zero_point`), because TensorRT takes no other zero point than 0.
    """

    scale: float
    zero_point: int = 0

    @property
    def positive_levels(self) -> int:
        """Number of levels above zero: 127, or 255."""
        return QMAX - self.zero_point

    @property
    def clipping_limit(self) -> float:
        """Upper end of the clipping range: the largest value that can be represented."""
        return self.scale * self.positive_levels

    @property
    def shift(self) -> float:
        """Value to subtract from the activation for symmetric quantization to give these levels."""
        return -self.zero_point * self.scale

    def fake_quantize(self, activations: Tensor) -> Tensor:
        """Return activations of any shape, float, clipped and rounded to the levels that INT8 can hold."""
        levels = (activations / self.scale).round_().clamp_(QMIN - self.zero_point, self.positive_levels)
        return levels.mul_(self.scale)


@dataclass(frozen=True)
class ConvQuantParams:
    """Quantization parameters of the activations that a convolution reads and writes."""

    input: QuantParams
    output: QuantParams


def from_clipping_limit(limit: float, *, zero_point: int) -> QuantParams:
    """Return the parameters whose largest representable value is `limit`."""
    return QuantParams(limit / (QMAX - zero_point), zero_point)

"""The numbers that a map of INT8 can hold."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

HIGHEST = 127
"""Of the whole numbers that symmetric INT8 holds."""


@dataclass(frozen=True)
class Grid:
    """Whole multiples of a step, from -128 to 127 of them; or, of a map that is `moved` down by 128 steps
    before it is rounded, from 0 to 255."""

    step: float
    moved: bool = False

    @property
    def offset(self) -> float:
        """By how much the map is moved down."""
        return (HIGHEST + 1) * self.step if self.moved else 0.0

    @property
    def highest(self) -> int:
        """The largest multiple that it holds."""
        return 2 * HIGHEST + 1 if self.moved else HIGHEST

    def rounded(self, maps: Tensor) -> Tensor:
        """The nearest numbers that it holds."""
        lowest = self.highest - 2 * HIGHEST - 1
        return (maps / self.step).round_().clamp_(lowest, self.highest).mul_(self.step)

"""Operating points: the two thresholds on the probability of FAKE, and which one is the default."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from deepfake_triton.contracts import DEFAULT_OPERATING_POINT

_DEFAULT_NAMES = ("balanced", "default")


@dataclass(frozen=True)
class OperatingPoint:
    """Thresholds: FAKE at or above `fake_at_least`, REAL at or below `real_at_most`, uncertain between them.

    With both equal nothing is uncertain: REAL below, FAKE at or above.
    """

    name: str
    real_at_most: float
    fake_at_least: float

    def __str__(self) -> str:
        """Text for reports and plots, such as `balanced: REAL ≤ 0.35, FAKE ≥ 0.5`."""
        below = "<" if self.real_at_most == self.fake_at_least else "≤"
        return f"{self.name}: REAL {below} {_short(self.real_at_most)}, FAKE ≥ {_short(self.fake_at_least)}"

    def is_fake(self, probability: float) -> bool:
        """Whether a probability of FAKE is enough for that verdict."""
        return probability >= self.fake_at_least

    def is_uncertain(self, probability: float) -> bool:
        """Whether a probability of FAKE lies between the thresholds."""
        return self.real_at_most < probability < self.fake_at_least

    def verdict_on(self, probability: float) -> Literal["FAKE", "REAL", "uncertain"]:
        """Return the verdict on a probability of FAKE."""
        if self.is_fake(probability):
            return "FAKE"
        return "uncertain" if self.is_uncertain(probability) else "REAL"

    def as_dict(self) -> dict[str, str | float]:
        """Return the documented JSON."""
        return {"name": self.name, "real_at_most": self.real_at_most, "fake_at_least": self.fake_at_least}


def points_from_thresholds(
    fake_at_least: Mapping[str, float], real_at_most: Mapping[str, float]
) -> list[OperatingPoint]:
    """Return operating points from thresholds by name; without a `real_at_most` both thresholds are equal."""
    return [
        OperatingPoint(name, real_at_most.get(name, threshold), threshold)
        for name, threshold in fake_at_least.items()
    ]


def default_operating_point(points: Sequence[OperatingPoint]) -> OperatingPoint:
    """Return the operating point used where none is named: `balanced`, else `default`, else 0.5.

    The one rule for the default threshold: verdicts of the client and the export's accuracy gate follow it.
    """
    by_name = {point.name: point for point in points}
    for name in _DEFAULT_NAMES:
        if name in by_name:
            return by_name[name]
    return OperatingPoint("default", DEFAULT_OPERATING_POINT, DEFAULT_OPERATING_POINT)


def _short(threshold: float) -> str:
    return f"{round(threshold, 3):g}"

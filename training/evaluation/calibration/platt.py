"""Probability calibration (Platt scaling) and operating points, both fitted on held-out people."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from deepfake_triton.errors import DatasetError

Scores = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]

CONSERVATIVE_FALSE_ALARMS = 0.005
"""False-alarm rate of the operating point `conservative`: the fraction of real clips called FAKE."""
MISS_RATE = 0.15
"""Fraction of fake clips that may be called REAL, at any operating point."""
_MAX_ITERATIONS = 100
# The ranges that a checkpoint's metadata allow.
_SMALLEST_SCALE, _LARGEST_SCALE, _LARGEST_SHIFT = 1e-3, 1e3, 100.0


@dataclass(frozen=True)
class Calibration:
    """Probability calibration of margins (fake minus real logit), and thresholds on the probability of FAKE.

    `operating_points` holds the FAKE threshold of each operating point, `real_at_most` its REAL threshold.
    """

    scale: float
    shift: float
    operating_points: dict[str, float]
    real_at_most: dict[str, float]

    def probabilities(self, margins: Scores) -> Scores:
        """Return the calibrated probabilities of FAKE [N] of margins [N]."""
        return probabilities_from_margins(margins, self.scale, self.shift)


def fit_calibration(margins: Scores, labels: Labels) -> Calibration:
    """Fit calibration and thresholds to margins [N] and labels [N] (1 is fake) of held-out clips.

    Raises DatasetError unless there are clips of both labels.
    """
    scale, shift = fit_platt(margins, labels)
    probabilities = probabilities_from_margins(margins, scale, shift)
    points = fit_operating_points(probabilities, labels)
    return Calibration(scale, shift, points, fit_real_thresholds(probabilities, labels, points))


def fit_platt(margins: Scores, labels: Labels, *, weights: Scores | None = None) -> tuple[float, float]:
    """Fit scale and shift of sigmoid(scale · margin + shift) by maximum likelihood, with Newton's method.

    `margins` [N] are fake minus real logits, and `weights` [N], all 1 by default, say how much each counts.
    Labels [N] are smoothed as in Platt, *Probabilistic Outputs for Support Vector Machines*, 1999, so that
    separable samples give finite values. Raises DatasetError without both labels.
    """
    fakes, reals = int((labels == 1).sum()), int((labels == 0).sum())
    if not fakes or not reals:
        raise DatasetError(f"calibration needs both labels: got {reals} real and {fakes} fake clips")
    target = np.where(labels == 1, (fakes + 1) / (fakes + 2), 1 / (reals + 2))
    spread, center = float(margins.std()) or 1.0, float(margins.mean())
    design = np.column_stack([(margins - center) / spread, np.ones(len(margins))])
    counts = np.ones(len(margins)) if weights is None else weights
    slopes = np.zeros(2)
    for _ in range(_MAX_ITERATIONS):
        p = 1 / (1 + np.exp(-np.clip(design @ slopes, -50, 50)))
        gradient = design.T @ (counts * (p - target))
        hessian = design.T @ (design * (counts * p * (1 - p))[:, None]) + 1e-6 * np.eye(2)
        step = np.linalg.solve(hessian, gradient)
        slopes = slopes - step / max(1.0, float(np.abs(step).max()) / 2)
        if np.abs(step).max() < 1e-9:
            break
    scale = float(np.clip(slopes[0] / spread, _SMALLEST_SCALE, _LARGEST_SCALE))
    return scale, float(np.clip(slopes[1] - scale * center, -_LARGEST_SHIFT, _LARGEST_SHIFT))


def probabilities_from_margins(margins: Scores, scale: float, shift: float) -> Scores:
    """Return the probabilities of FAKE [N] that the served graph computes from margins [N]."""
    probability: Scores = 1 / (1 + np.exp(-np.clip(scale * margins + shift, -700, 700)))
    return probability


def fit_operating_points(probabilities: Scores, labels: Labels) -> dict[str, float]:
    """Return the FAKE thresholds: `balanced` is 0.5, `conservative` calls about one real clip in 200 FAKE."""
    real = probabilities[labels == 0]
    conservative = float(np.quantile(real, 1 - CONSERVATIVE_FALSE_ALARMS, method="higher"))
    return {"balanced": 0.5, "conservative": round(min(max(conservative + 1e-4, 0.5), 0.999), 4)}


def fit_real_thresholds(
    probabilities: Scores, labels: Labels, operating_points: Mapping[str, float]
) -> dict[str, float]:
    """Return the REAL threshold of each operating point, never above its FAKE threshold.

    It is the highest probability up to which a clip is called REAL so that at most `MISS_RATE` of the fakes
    are. Both thresholds make a classifier with a reject option (Chow, *On optimum recognition error and
    reject tradeoff*, 1970) whose two error rates are bounded separately.
    """
    fake = np.sort(probabilities[labels == 1])
    first_caught = float(fake[int(MISS_RATE * len(fake))])
    threshold = np.floor(1e3 * max(first_caught - 1e-4, 0.0)) / 1e3
    return {name: float(min(threshold, point)) for name, point in operating_points.items()}

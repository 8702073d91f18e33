"""From logits to probabilities, and from probabilities to thresholds: both fitted on held-out people."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from deepfake_triton.errors import DatasetError

Scores = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]

CONSERVATIVE_FALSE_ALARMS = 0.005
_STEPS = 100
# What a checkpoint's facts allow.
_SMALLEST_SCALE, _LARGEST_SCALE, _LARGEST_SHIFT = 1e-3, 1e3, 100.0


def fit_platt(margins: Scores, labels: Labels) -> tuple[float, float]:
    """Scale and shift for which sigmoid(scale · margin + shift) fits the labels best, by Newton's method.

    `margins` are fake minus real logits; labels are smoothed as in Platt, *Probabilistic Outputs for Support
    Vector Machines*, 1999, so that separable samples give finite values. Raises DatasetError without both
    labels.
    """
    fakes, reals = int((labels == 1).sum()), int((labels == 0).sum())
    if not fakes or not reals:
        raise DatasetError(f"calibration needs both labels: got {reals} real and {fakes} fake clips")
    target = np.where(labels == 1, (fakes + 1) / (fakes + 2), 1 / (reals + 2))
    spread, centre = float(margins.std()) or 1.0, float(margins.mean())
    design = np.column_stack([(margins - centre) / spread, np.ones(len(margins))])
    weights = np.zeros(2)
    for _ in range(_STEPS):
        p = 1 / (1 + np.exp(-np.clip(design @ weights, -50, 50)))
        slope = design.T @ (p - target)
        curvature = design.T @ (design * (p * (1 - p))[:, None]) + 1e-6 * np.eye(2)
        step = np.linalg.solve(curvature, slope)
        weights = weights - step / max(1.0, float(np.abs(step).max()) / 2)
        if np.abs(step).max() < 1e-9:
            break
    scale = float(np.clip(weights[0] / spread, _SMALLEST_SCALE, _LARGEST_SCALE))
    return scale, float(np.clip(weights[1] - scale * centre, -_LARGEST_SHIFT, _LARGEST_SHIFT))


def probabilities_of(margins: Scores, scale: float, shift: float) -> Scores:
    """What the served graph makes of fake minus real logits."""
    probability: Scores = 1 / (1 + np.exp(-np.clip(scale * margins + shift, -700, 700)))
    return probability


def operating_points(probabilities: Scores, labels: Labels) -> dict[str, float]:
    """`balanced`: a calibrated 0.5. `conservative`: about one real clip in 200 is called FAKE."""
    real = probabilities[labels == 0]
    conservative = float(np.quantile(real, 1 - CONSERVATIVE_FALSE_ALARMS, method="higher"))
    return {"balanced": 0.5, "conservative": round(min(max(conservative + 1e-4, 0.5), 0.999), 4)}

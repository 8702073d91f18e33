"""Scores on real-world clips, for tests of the model card."""

from __future__ import annotations

from deepfake_triton.training.evaluation.card.real_world import RealWorldGroup, RealWorldScores
from deepfake_triton.training.evaluation.figures import Estimate


def real_world(checkpoint_sha256: str) -> RealWorldScores:
    """Return scores of a checkpoint; the model is outdone in both groups, and perhaps chance in one."""
    groups = (
        RealWorldGroup("swaps", Estimate(0.75, 0.45, 0.95), jpeg_size_auc=0.8, calibration_error=0.2),
        RealWorldGroup("all", Estimate(0.7, 0.55, 0.85), jpeg_size_auc=0.71, calibration_error=0.25),
    )
    return RealWorldScores(checkpoint_sha256, 40, 20, groups, 0.6, 5, 9)

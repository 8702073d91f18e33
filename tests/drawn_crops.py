"""Crops drawn from portraits as training draws them."""

from __future__ import annotations

import numpy as np

from deepfake_triton.training.augmentation.pairs import PairSampler
from deepfake_triton.training.augmentation.stills import CropBatch, cut_batch


def drawn_crops(sampler: PairSampler, seed: int, *, pairs: int, strength: float = 1.0) -> CropBatch:
    """Draw real crops, followed by their fake counterparts in the same order."""
    rng = np.random.default_rng(seed)
    return cut_batch(rng, sampler.draw_stills(rng, pairs, strength), sampler.rule)

"""Mask the probabilities of blank rows: what `probability_mask` serves. Imports nothing but numpy."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from deepfake_triton.errors import InvalidFrames


def masked_probability(
    probability: npt.NDArray[np.float32], observed: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float32]:
    """Return a copy of `probability` [F, 1] float32 with NaN in rows where `observed` [F, T] is all false.

    NaN compares as neither REAL nor FAKE. Raises InvalidFrames when the shapes do not match.
    """
    if observed.ndim != 2 or probability.shape != (len(observed), 1):
        raise InvalidFrames(
            f"classifier_probability: got {list(probability.shape)}, expected [F, 1] for observed [F, T], "
            f"which has {list(observed.shape)}"
        )
    masked: npt.NDArray[np.float32] = np.where(
        observed.any(axis=1, keepdims=True), probability, np.float32("nan")
    )
    return masked

"""Test-time mirroring: what the mirror image of a clip changes, and whether the mean of both ranks better."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from deepfake_triton.classification_metrics import Labels, Scores, roc_auc, sample_shortfall
from deepfake_triton.operating_point import OperatingPoint
from deepfake_triton.training.evaluation.corruptions import AS_IS
from deepfake_triton.training.evaluation.figures import Estimate, MirrorFigures, estimate_from
from deepfake_triton.training.evaluation.intervals import paired_difference_interval
from deepfake_triton.training.evaluation.results import ScoredClip

MIRRORED = "mirrored"
"""Name of the variant whose frames are mirrored after decoding."""
MIRROR_MEAN = "mean with its mirror image"
"""Name of the variant whose probability is the mean over a clip and its mirror image."""


def mirror_mean(clip: ScoredClip, mirrored: ScoredClip) -> ScoredClip:
    """Return the clip with the mean of both probabilities; INCONCLUSIVE where one of them is."""
    found = (clip.fake_probability, mirrored.fake_probability)
    mean = None if found[0] is None or found[1] is None else (found[0] + found[1]) / 2
    return replace(clip, corruption=MIRROR_MEAN, fake_probability=mean)


def measure_mirroring(
    clips: Sequence[ScoredClip], point: OperatingPoint, *, rounds: int
) -> MirrorFigures | None:
    """Compare clips as they are with their mirror images; None where none were mirrored.

    The gain of AUC has the interval of a bootstrap over people, alone. It is empty where there are too few
    clips, and where nothing is to be gained, since the AUC is 1 with and without mirroring.
    """
    variants = {
        name: {clip.path: clip for clip in clips if clip.corruption == name} for name in (AS_IS, MIRRORED)
    }
    kept = [
        (clip, clip.fake_probability, other.fake_probability)
        for path, clip in variants[AS_IS].items()
        if (other := variants[MIRRORED].get(path)) is not None
        and clip.fake_probability is not None
        and other.fake_probability is not None
    ]
    if not kept:
        return None
    plain, mirrored = (np.array([pair[i] for pair in kept], np.float64) for i in (1, 2))
    labels = np.array([clip.label for clip, *_ in kept], np.int64)
    people = np.unique([clip.identity for clip, *_ in kept], return_inverse=True)[1].astype(np.int64)
    change = np.abs(plain - mirrored)
    flips = [point.verdict_on(a) != point.verdict_on(b) for a, b in zip(plain, mirrored, strict=True)]
    gain = Estimate()
    if sample_shortfall(labels, people) is None and _mean_auc(plain, mirrored, labels) < 1:
        found = paired_difference_interval(
            lambda drawn: _gain(plain[drawn], mirrored[drawn], labels[drawn]), labels, people, rounds=rounds
        )
        gain = estimate_from(found)
    return MirrorFigures(
        clips=len(kept),
        mean_change=round(float(change.mean()), 5),
        largest_change=round(float(change.max()), 5),
        other_verdicts=round(float(np.mean(flips)), 5),
        auc_gain=gain,
    )


def _mean_auc(plain: Scores, mirrored: Scores, labels: Labels) -> float:
    return (roc_auc(plain, labels) + roc_auc(mirrored, labels)) / 2


def _gain(plain: Scores, mirrored: Scores, labels: Labels) -> float:
    """Return the AUC of the mean less the mean of both AUCs: which of the two was filmed is chance."""
    return roc_auc((plain + mirrored) / 2, labels) - _mean_auc(plain, mirrored, labels)

"""Thresholds of the operating points from held-out scores, clean and compressed, under stated aims.

Precedence, where aims conflict: first enough clips are answered and enough fakes found, then few real clips
are called FAKE, then few fakes REAL.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

from deepfake_triton.json_object import JsonObject
from deepfake_triton.training.evaluation.calibration.platt import MISS_RATE

_STEP = 1e-4
_HIGHEST, _LOWEST_CONSERVATIVE = 0.9999, 0.5


@dataclass(frozen=True)
class BorderAims:
    """Aims, as shares: real clips called FAKE, clips answered at `balanced`, fakes called FAKE at `balanced`.

    `missed` is the share of fakes that may be called REAL. Those of real clips hold in each split, over its
    clean and compressed clips together; those of compressed clips only where there are any.
    """

    conservative_alarms: float = 0.02
    balanced_alarms: float = 0.05
    answered_clean: float = 0.75
    answered_compressed: float = 0.60
    found_clean: float = 0.0
    found_compressed: float = 0.0
    missed: float = MISS_RATE


@dataclass(frozen=True)
class BorderScores:
    """Probabilities [N] (NaN: INCONCLUSIVE), labels [N] (1 is fake), and where each clip belongs."""

    probabilities: npt.NDArray[np.float64]
    labels: npt.NDArray[np.int64]
    is_compressed: npt.NDArray[np.bool_]
    splits: npt.NDArray[np.str_]

    def cells(self) -> Iterator[tuple[str, bool, npt.NDArray[np.bool_]]]:
        """Yield each split, clean and then compressed, with which clips are in it [N]."""
        for split in np.unique(self.splits):
            for compressed in (False, True):
                inside = (self.splits == split) & (self.is_compressed == compressed)
                if inside.any():
                    yield str(split), compressed, inside


@dataclass(frozen=True)
class BorderCell:
    """Shares of the clips of one split, clean or compressed, by operating point."""

    split: str
    compressed: bool
    real: int
    fake: int
    real_called_fake: dict[str, float | None]
    fakes_found: dict[str, float | None]
    fakes_called_real: dict[str, float | None]
    uncertain: dict[str, float]


@dataclass(frozen=True)
class Borders:
    """Thresholds for FAKE and for REAL by operating point, and what they do to the clips they were fitted to.

    `missed_aims` says of each aim that is missed what was reached.
    """

    operating_points: dict[str, float]
    real_at_most: dict[str, float]
    cells: tuple[BorderCell, ...]
    missed_aims: tuple[str, ...]

    def to_json(self) -> JsonObject:
        """Return the part of the checkpoint's metadata that says how the thresholds came about."""
        return {"missed_aims": list(self.missed_aims), "cells": [asdict(cell) for cell in self.cells]}


def fit_borders(scores: BorderScores, aims: BorderAims) -> Borders:
    """Return the thresholds of `balanced` and `conservative` that meet the aims, as far as these agree.

    The FAKE thresholds are the lowest that call few enough real clips FAKE, but 0.5 at least; that of
    `balanced` is lowered to find enough fakes. The REAL thresholds are the highest that call few enough fakes
    REAL; that of `balanced` is raised to answer enough clips.
    """
    fake = max(_fewest_alarms(scores, aims.balanced_alarms), _LOWEST_CONSERVATIVE)
    fake = min(fake, _most_found(scores, aims))
    conservative = max(_fewest_alarms(scores, aims.conservative_alarms), _LOWEST_CONSERVATIVE, fake)
    real = min(_highest_miss(scores, aims.missed), fake)
    points = {"balanced": fake, "conservative": conservative}
    real_at_most = {"balanced": max(real, _enough_answers(scores, aims, fake)), "conservative": real}
    cells = tuple(
        _cell(scores, split, inside=inside, compressed=compressed, points=(points, real_at_most))
        for split, compressed, inside in scores.cells()
    )
    missed = _missed_aims(scores, aims, points=points, up_to=real_at_most["balanced"])
    return Borders(points, real_at_most, cells, tuple(missed))


def _fewest_alarms(scores: BorderScores, aim: float) -> float:
    """Return the lowest threshold that calls at most `aim` of the real clips of each split FAKE."""
    lowest = _STEP
    for split in np.unique(scores.splits):
        real = scores.probabilities[(scores.labels == 0) & (scores.splits == split)]
        ordered = np.sort(np.nan_to_num(real, nan=0.0))[::-1]
        allowed = int(aim * len(real) + 1e-9)
        if allowed < len(ordered):
            lowest = max(lowest, np.floor(ordered[allowed] / _STEP) * _STEP + _STEP)
    return round(min(float(lowest), _HIGHEST), 4)


def _most_found(scores: BorderScores, aims: BorderAims) -> float:
    """Return the highest threshold that calls enough fakes FAKE, clean and compressed."""
    highest = 1.0
    for compressed, share in ((False, aims.found_clean), (True, aims.found_compressed)):
        fakes = scores.probabilities[(scores.labels == 1) & (scores.is_compressed == compressed)]
        needed = int(np.ceil(share * len(fakes) - 1e-9))
        if needed:
            ordered = np.sort(np.nan_to_num(fakes, nan=0.0))[::-1]
            highest = min(highest, float(np.floor(ordered[needed - 1] / _STEP) * _STEP))
    return round(max(highest, _STEP), 4)


def _highest_miss(scores: BorderScores, aim: float) -> float:
    """Return the highest threshold up to which at most `aim` of the fakes are called REAL."""
    fakes = np.sort(np.nan_to_num(scores.probabilities[scores.labels == 1], nan=1.0))
    first_caught = float(fakes[min(int(aim * len(fakes) + 1e-9), len(fakes) - 1)])
    return round(float(max(np.ceil(first_caught / _STEP) * _STEP - _STEP, 0.0)), 4)


def _enough_answers(scores: BorderScores, aims: BorderAims, fake_at_least: float) -> float:
    """Return the lowest threshold for REAL with which enough clips are answered, clean and compressed."""
    lowest = 0.0
    for compressed, share in ((False, aims.answered_clean), (True, aims.answered_compressed)):
        inside = scores.probabilities[scores.is_compressed == compressed]
        below = np.sort(inside[inside < fake_at_least])
        needed = int(np.ceil(share * len(inside) - 1e-9)) - int((inside >= fake_at_least).sum())
        if needed > 0 and len(below):
            reached = float(below[min(needed, len(below)) - 1])
            lowest = max(lowest, float(np.ceil(reached / _STEP) * _STEP))
    return round(min(lowest, fake_at_least), 4)


def _cell(
    scores: BorderScores,
    split: str,
    *,
    inside: npt.NDArray[np.bool_],
    compressed: bool,
    points: tuple[dict[str, float], dict[str, float]],
) -> BorderCell:
    fake_at_least, real_at_most = points
    labels, values = scores.labels[inside], scores.probabilities[inside]
    real, fake = values[labels == 0], values[labels == 1]
    return BorderCell(
        split=split,
        compressed=compressed,
        real=len(real),
        fake=len(fake),
        real_called_fake={name: _share(real >= at) for name, at in fake_at_least.items()},
        fakes_found={name: _share(fake >= at) for name, at in fake_at_least.items()},
        fakes_called_real={
            name: _share((fake <= real_at_most[name]) & (fake < at)) for name, at in fake_at_least.items()
        },
        uncertain={
            name: _share((values > real_at_most[name]) & (values < at)) or 0.0
            for name, at in fake_at_least.items()
        },
    )


def _share(hits: npt.NDArray[np.bool_]) -> float | None:
    return round(float(hits.mean()), 4) if len(hits) else None


def _missed_aims(
    scores: BorderScores, aims: BorderAims, *, points: Mapping[str, float], up_to: float
) -> Iterator[str]:
    """Describe each aim that is missed: what was reached, and what was aimed at."""
    at, values, fake = points["balanced"], scores.probabilities, scores.labels == 1
    for name, aim in (("balanced", aims.balanced_alarms), ("conservative", aims.conservative_alarms)):
        for split in np.unique(scores.splits):
            alarms = _share(values[~fake & (scores.splits == split)] >= points[name])
            if alarms is not None and alarms > aim:
                yield f"{name}, {split}: {alarms:.3f} of real clips FAKE, aim {aim:g}"
    for kind, inside, answered, found in (
        ("clean", ~scores.is_compressed, aims.answered_clean, aims.found_clean),
        ("compressed", scores.is_compressed, aims.answered_compressed, aims.found_compressed),
    ):
        answers = _share((values[inside] >= at) | (values[inside] <= up_to))
        if answers is not None and answers < answered:
            yield f"balanced, {kind}: {answers:.3f} of clips answered, aim {answered:g}"
        hits = _share(values[inside & fake] >= at)
        if hits is not None and hits < found:
            yield f"balanced, {kind}: {hits:.3f} of fakes FAKE, aim {found:g}"
    misses = _share((values[fake] <= up_to) & (values[fake] < at))
    if misses is not None and misses > aims.missed:
        yield f"balanced: {misses:.3f} of fakes REAL, aim {aims.missed:g}"

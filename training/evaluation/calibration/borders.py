"""Thresholds of the operating points from held-out scores, clean and compressed, under stated aims.

Precedence, where aims conflict: first enough clips are answered and enough fakes found, then few real clips
are called FAKE, then few fakes REAL.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

from deepfake_triton.errors import DatasetError
from deepfake_triton.json_object import JsonObject
from deepfake_triton.training.evaluation.calibration.platt import MISS_RATE

_STEP = 1e-4
_HIGHEST, _LOWEST_CONSERVATIVE = 0.9999, 0.5


@dataclass(frozen=True)
class BorderAims:
    """Aims, as shares: real clips called FAKE, clips answered at `balanced`, fakes called FAKE at `balanced`.

    `missed` is the share of fakes that may be called REAL. All hold in each split: those on real clips FAKE
    and fakes REAL over its clean and compressed clips together, the others for the clean and for the
    compressed ones, where there are any.
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
    """Probabilities [N] (NaN: INCONCLUSIVE), labels [N] (1 is fake), and where each score belongs.

    `clips` [N] and `people` [N] number what is shown: a clip may be scored several times, as it is and
    compressed.
    """

    probabilities: npt.NDArray[np.float64]
    labels: npt.NDArray[np.int64]
    is_compressed: npt.NDArray[np.bool_]
    splits: npt.NDArray[np.str_]
    clips: npt.NDArray[np.int64]
    people: npt.NDArray[np.int64]

    def by_split(self) -> Iterator[tuple[str, npt.NDArray[np.bool_]]]:
        """Yield each split with which scores are in it [N]."""
        for split in np.unique(self.splits):
            yield str(split), self.splits == split

    def cells(self) -> Iterator[tuple[str, bool, npt.NDArray[np.bool_]]]:
        """Yield each split, clean and then compressed, with which scores are in it [N]."""
        for split, inside in self.by_split():
            for compressed in (False, True):
                of_kind = inside & (self.is_compressed == compressed)
                if of_kind.any():
                    yield split, compressed, of_kind


@dataclass(frozen=True)
class BorderCell:
    """Shares of the scores of one split, clean or compressed, by operating point.

    `real` and `fake` are numbers of clips, of so many `people`; `scores` is larger where compressed in
    several ways.
    """

    split: str
    compressed: bool
    real: int
    fake: int
    people: int
    scores: int
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
    REAL; that of `balanced` is raised to answer enough clips. The hardest split decides. Raises DatasetError
    where fakes are to be found among clips that a split lacks.
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
    for _, inside in scores.by_split():
        real = scores.probabilities[inside & (scores.labels == 0)]
        ordered = np.sort(np.nan_to_num(real, nan=0.0))[::-1]
        allowed = int(aim * len(real) + 1e-9)
        if allowed < len(ordered):
            lowest = max(lowest, _step_above(float(ordered[allowed])))
    return round(min(lowest, _HIGHEST), 4)


def _most_found(scores: BorderScores, aims: BorderAims) -> float:
    """Return the highest threshold that calls enough fakes FAKE, clean and compressed, in each split."""
    highest = 1.0
    for split, inside in scores.by_split():
        for compressed, share in ((False, aims.found_clean), (True, aims.found_compressed)):
            of_kind = inside & (scores.labels == 1) & (scores.is_compressed == compressed)
            fakes = scores.probabilities[of_kind]
            if share and not len(fakes):
                raise DatasetError(
                    f"got {share:g} as the least share of {_kind(compressed=compressed)} fakes to find, but "
                    f"the split {split} has no such clip; expected evaluations with --degradation "
                    "'h264 crf 32' or 'half scale, crf 32', or a share of 0"
                )
            needed = int(np.ceil(share * len(fakes) - 1e-9))
            if needed:
                ordered = np.sort(np.nan_to_num(fakes, nan=0.0))[::-1]
                highest = min(highest, _step_at_most(float(ordered[needed - 1])))
    return round(max(highest, _STEP), 4)


def _highest_miss(scores: BorderScores, aim: float) -> float:
    """Return the highest threshold up to which at most `aim` of the fakes of each split are called REAL."""
    highest = 1.0
    for _, inside in scores.by_split():
        fakes = np.sort(np.nan_to_num(scores.probabilities[inside & (scores.labels == 1)], nan=1.0))
        if len(fakes):
            first_caught = float(fakes[min(int(aim * len(fakes) + 1e-9), len(fakes) - 1)])
            highest = min(highest, _step_below(first_caught))
    return round(max(highest, 0.0), 4)


def _enough_answers(scores: BorderScores, aims: BorderAims, fake_at_least: float) -> float:
    """Return the lowest threshold for REAL with which enough clips of each split are answered."""
    lowest = 0.0
    for _, compressed, inside in scores.cells():
        share = aims.answered_compressed if compressed else aims.answered_clean
        values = scores.probabilities[inside]
        below = np.sort(values[values < fake_at_least])
        needed = int(np.ceil(share * len(values) - 1e-9)) - int((values >= fake_at_least).sum())
        if needed > 0 and len(below):
            lowest = max(lowest, _step_at_least(float(below[min(needed, len(below)) - 1])))
    return round(min(lowest, fake_at_least), 4)


def _step_at_most(value: float) -> float:
    """Return the highest threshold in steps that is not above the value."""
    step = round(float(np.floor(value / _STEP + 1e-6)) * _STEP, 4)
    return step if step <= value else round(step - _STEP, 4)


def _step_above(value: float) -> float:
    return round(_step_at_most(value) + _STEP, 4)


def _step_at_least(value: float) -> float:
    step = _step_at_most(value)
    return step if step == value else _step_above(value)


def _step_below(value: float) -> float:
    step = _step_at_most(value)
    return step if step < value else round(step - _STEP, 4)


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
        real=len(np.unique(scores.clips[inside & (scores.labels == 0)])),
        fake=len(np.unique(scores.clips[inside & (scores.labels == 1)])),
        people=len(np.unique(scores.people[inside])),
        scores=len(values),
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
    """Describe each aim that is missed: in which split, what was reached, and what was aimed at."""
    at, values, fake = points["balanced"], scores.probabilities, scores.labels == 1
    for name, aim in (("balanced", aims.balanced_alarms), ("conservative", aims.conservative_alarms)):
        for split, inside in scores.by_split():
            alarms = _share(values[inside & ~fake] >= points[name])
            if alarms is not None and alarms > aim:
                yield f"{name}, {split}: {alarms:.3f} of real clips FAKE, aim {aim:g}"
    for split, compressed, inside in scores.cells():
        where = f"balanced, {split}, {_kind(compressed=compressed)}"
        answered = aims.answered_compressed if compressed else aims.answered_clean
        answers = _share((values[inside] >= at) | (values[inside] <= up_to))
        if answers is not None and answers < answered:
            yield f"{where}: {answers:.3f} of clips answered, aim {answered:g}"
        found = aims.found_compressed if compressed else aims.found_clean
        hits = _share(values[inside & fake] >= at)
        if hits is not None and hits < found:
            yield f"{where}: {hits:.3f} of fakes FAKE, aim {found:g}"
    for split, inside in scores.by_split():
        misses = _share((values[inside & fake] <= up_to) & (values[inside & fake] < at))
        if misses is not None and misses > aims.missed:
            yield f"balanced, {split}: {misses:.3f} of fakes REAL, aim {aims.missed:g}"
        if not scores.is_compressed[inside].any():
            yield f"balanced, {split}: no compressed clips, so that the aims for them were not checked"


def _kind(*, compressed: bool) -> str:
    return "compressed" if compressed else "clean"

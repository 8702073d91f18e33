"""Summarize scores into metrics with intervals: by corruption, source, manipulation, split and condition."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from deepfake_triton.classification_metrics import (
    MIN_CLIPS,
    MIN_PEOPLE,
    Decisions,
    Metric,
    SelectiveDecisions,
    average_precision,
    decisions_at,
    equal_error_rate,
    expected_calibration_error,
    roc_auc,
    sample_shortfall,
    selective_decisions_at,
)
from deepfake_triton.operating_point import (
    OperatingPoint,
    default_operating_point,
    points_from_thresholds,
)
from deepfake_triton.training.augmentation.clip_conditions import take_name
from deepfake_triton.training.evaluation.corruptions import AS_IS
from deepfake_triton.training.evaluation.figures import (
    ChangeFigures,
    DecisionFigures,
    Estimate,
    GroupFigures,
    PairFigures,
    estimate_from,
    rounded,
)
from deepfake_triton.training.evaluation.intervals import (
    INTERVALS_TEXT,
    ScoreBounds,
    auc_score_interval,
    metric_interval,
    rarer_label_interval,
    share_interval,
)
from deepfake_triton.training.evaluation.mirroring import measure_mirroring
from deepfake_triton.training.evaluation.results import Evaluation, EvaluationHeader, ScoredClip, Scores

INCONCLUSIVE_SCORE = 0.5
"""Score of a clip without a probability, for ranking alone: no threshold calls it FAKE."""
NO_CONDITION = "plain"
"""Name of the clips without a condition, beside those that have one."""


def summarize_scores(
    scores: Scores,
    header: EvaluationHeader,
    *,
    fake_at_least: Mapping[str, float],
    real_at_most: Mapping[str, float] | None = None,
    rounds: int = 1000,
) -> Evaluation:
    """Compute all metrics, with intervals of `rounds` bootstrap rounds.

    `fake_at_least` and `real_at_most` hold the FAKE and REAL thresholds of the operating points by name. All
    groups but those by condition leave clips under a condition out, unless there are no others.
    """
    points = points_from_thresholds(fake_at_least, real_at_most or {})
    plain = [clip for clip in scores.clips if not clip.condition] or list(scores.clips)
    by_corruption = _group(plain, lambda clip: clip.corruption)
    as_is = by_corruption.get(AS_IS, [])
    conditions = _figures_by_condition(
        [clip for clip in scores.clips if clip.corruption == AS_IS], points, rounds
    )
    by_source = _group(as_is, lambda clip: clip.source or "unknown")
    fakes = _group([clip for clip in as_is if clip.label == 1], lambda clip: clip.manipulation or "unknown")
    by_manipulation = {name: [*group, *_originals_of(group, as_is)] for name, group in fakes.items()}
    by_split = _group((clip for clip in as_is if clip.split), lambda clip: clip.split)

    def figures(groups: Mapping[str, list[ScoredClip]]) -> dict[str, GroupFigures]:
        return {name: _summarize(groups[name], points, rounds) for name in sorted(groups)}

    return Evaluation(
        header=replace(header, intervals=INTERVALS_TEXT),
        clips=sum(clip.corruption == AS_IS for clip in scores.clips),
        faults=scores.faults,
        operating_points=dict(fake_at_least),
        real_at_most={point.name: point.real_at_most for point in points},
        by_corruption={name: _summarize(group, points, rounds) for name, group in by_corruption.items()},
        by_source=figures(by_source),
        by_manipulation=figures(by_manipulation),
        by_split=figures(by_split if len(by_split) > 1 else {}),
        by_condition=conditions,
        mirroring=measure_mirroring(plain, default_operating_point(points), rounds=rounds),
        scores=scores.clips,
    )


def _group(clips: Iterable[ScoredClip], key: Callable[[ScoredClip], str]) -> dict[str, list[ScoredClip]]:
    groups: dict[str, list[ScoredClip]] = defaultdict(list)
    for clip in clips:
        groups[key(clip)].append(clip)
    return dict(groups)


def _originals_of(fakes: Sequence[ScoredClip], clips: Sequence[ScoredClip]) -> list[ScoredClip]:
    """Return the real clips that the fakes were made from; all real ones where the manifest names none."""
    originals = {fake.original for fake in fakes if fake.original}
    return [clip for clip in clips if clip.label == 0 and (not originals or clip.path in originals)]


def _figures_by_condition(
    clips: Sequence[ScoredClip], points: Sequence[OperatingPoint], rounds: int
) -> dict[str, GroupFigures]:
    """Summarize the clips as they are by condition; empty where none has any."""
    groups = _group(clips, lambda clip: clip.condition or NO_CONDITION)
    if not any(clip.condition for clip in clips):
        return {}
    return {
        name: replace(
            _summarize(groups[name], points, rounds),
            real_change=_real_change(groups[name], groups.get(NO_CONDITION, ())),
        )
        for name in sorted(groups)
    }


def _real_change(clips: Sequence[ScoredClip], plain: Sequence[ScoredClip]) -> ChangeFigures | None:
    """Compare real clips under a condition with the plain clips of their takes; None without any."""
    before = {take_name(clip.path, clip.condition): clip.fake_probability for clip in plain}
    changes, people = [], set()
    for clip in clips:
        probability = before.get(take_name(clip.path, clip.condition))
        if clip.label == 0 and clip.condition and None not in (probability, clip.fake_probability):
            changes.append(float(clip.fake_probability or 0.0) - float(probability or 0.0))
            people.add(clip.identity)
    if not changes:
        return None
    if len(changes) < MIN_CLIPS or len(people) < MIN_PEOPLE:
        return ChangeFigures(len(changes), None, None)
    return ChangeFigures(
        len(changes), rounded(float(np.mean(changes))), rounded(float(np.mean(np.abs(changes))))
    )


def _summarize(clips: Sequence[ScoredClip], points: Sequence[OperatingPoint], rounds: int) -> GroupFigures:
    labels = np.array([clip.label for clip in clips], np.int64)
    people = np.unique([clip.identity for clip in clips], return_inverse=True)[1].astype(np.int64)
    answered = _as_array(clip.fake_probability for clip in clips)
    known = ~np.isnan(answered)
    too_few = sample_shortfall(labels, people)
    samples = _Samples(
        np.where(known, answered, INCONCLUSIVE_SCORE), labels, people=people, rounds=0 if too_few else rounds
    )
    calibration_error = None
    if known.any():
        with_probability = replace(
            samples, scores=answered[known], labels=labels[known], people=people[known]
        )
        calibration_error = with_probability.estimate(expected_calibration_error)
    baselines = {
        "sharpness": _baseline_scores(clip.sharpness for clip in clips),
        "jpeg_bytes": _baseline_scores(clip.jpeg_bytes for clip in clips),
    }
    return GroupFigures(
        clips=len(clips),
        real=int((labels == 0).sum()),
        fake=int((labels == 1).sum()),
        inconclusive_share=round(1 - float(known.mean()), 5),
        too_few=too_few,
        auc=samples.estimate(roc_auc, auc_score_interval),
        average_precision=samples.estimate(average_precision),
        equal_error_rate=samples.estimate(equal_error_rate),
        calibration_error=calibration_error,
        decisions={
            point.name: _decision_figures(replace(samples, scores=answered), point) for point in points
        },
        baselines={
            name: replace(samples, scores=values).estimate(roc_auc, auc_score_interval)
            for name, values in baselines.items()
        },
        pairs=_pair_figures(clips, samples),
    )


@dataclass(frozen=True)
class _Samples:
    """Scores [N], labels [N] and people [N] of clips.

    `rounds` of the bootstrap are 0 where there are too few clips.
    """

    scores: npt.NDArray[np.float64]
    labels: npt.NDArray[np.int64]
    people: npt.NDArray[np.int64]
    rounds: int

    def estimate(self, metric: Metric, bounds: ScoreBounds = rarer_label_interval) -> Estimate:
        """Return a metric with its interval, all None where there are too few samples."""
        if not self.rounds:
            return Estimate()
        found = metric_interval(
            metric, self.scores, self.labels, people=self.people, rounds=self.rounds, bounds=bounds
        )
        return estimate_from(found)

    def share(
        self, hits: npt.NDArray[np.bool_] | npt.NDArray[np.float64], among: npt.NDArray[np.bool_]
    ) -> Estimate:
        """Return the share of `hits` [N] `among` some of the samples [N], like `estimate`."""
        if not self.rounds:
            return Estimate()
        return estimate_from(share_interval(hits[among], self.people[among], rounds=self.rounds))

    def value(self, metric: float) -> float | None:
        """Return a metric without an interval, None where there are too few samples."""
        return rounded(metric) if self.rounds else None


def _as_array(values: Iterable[float | None]) -> npt.NDArray[np.float64]:
    """Return values [N] float64, NaN for None."""
    return np.array([np.nan if value is None else value for value in values], np.float64)


def _baseline_scores(values: Iterable[float | None]) -> npt.NDArray[np.float64]:
    """Score softer or smaller faces as more fake; clips without a face get the median."""
    scores = -_as_array(values)
    median = np.nanmedian(scores) if not np.isnan(scores).all() else 0.0
    return np.where(np.isnan(scores), median, scores)


def _decision_figures(samples: _Samples, point: OperatingPoint) -> DecisionFigures:
    """Measure an operating point by its FAKE threshold alone, then by both thresholds.

    The scores of `samples` are NaN for clips without a probability, which no threshold calls FAKE.
    """
    threshold = point.fake_at_least
    fake, called = samples.labels == 1, samples.scores >= threshold
    uncertain = (samples.scores > point.real_at_most) & ~called
    is_answered = ~np.isnan(samples.scores) & ~uncertain
    one: Decisions = decisions_at(samples.scores, samples.labels, threshold)
    two: SelectiveDecisions = selective_decisions_at(samples.scores, samples.labels, point)
    return DecisionFigures(
        threshold=threshold,
        accuracy=samples.share(called == fake, np.ones_like(fake)),
        precision=samples.value(one.precision),
        recall=samples.value(one.recall),
        f1=samples.value(one.f1),
        false_alarms=samples.share(called, ~fake),
        real_at_most=point.real_at_most,
        uncertain_share=samples.value(two.uncertain_share),
        answered_accuracy=samples.share(called == fake, is_answered),
        missed=samples.share(is_answered & ~called, fake),
    )


def _pair_figures(clips: Sequence[ScoredClip], samples: _Samples) -> PairFigures:
    """Count how often a fake scores above its own original; a tie or an INCONCLUSIVE counts half."""
    real = {clip.path: clip for clip in clips if clip.label == 0}
    points = np.full(len(clips), np.nan)
    for index, fake in enumerate(clips):
        original = real.get(fake.original) if fake.label == 1 else None
        if original is None:
            continue
        if fake.fake_probability is None or original.fake_probability is None:
            points[index] = 0.5
        else:
            points[index] = 0.5 + 0.5 * np.sign(fake.fake_probability - original.fake_probability)
    has_original = ~np.isnan(points)
    pairs = int(has_original.sum())
    return PairFigures(pairs, samples.share(points, has_original) if pairs >= MIN_CLIPS else Estimate())

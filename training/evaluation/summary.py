"""Summarize scores into metrics with intervals: by corruption, source, manipulation, split and condition."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from deepfake_triton.classification_metrics import (
    MIN_CLIPS,
    Decisions,
    Interval,
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
from deepfake_triton.training.evaluation.corruptions import AS_IS
from deepfake_triton.training.evaluation.intervals import INTERVALS_TEXT, metric_interval, share_interval
from deepfake_triton.training.evaluation.mirroring import measure_mirroring
from deepfake_triton.training.evaluation.results import (
    DecisionFigures,
    Estimate,
    Evaluation,
    EvaluationHeader,
    GroupFigures,
    PairFigures,
    ScoredClip,
    Scores,
)

INCONCLUSIVE_SCORE = 0.5
"""Score of a clip without a probability."""
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

    `fake_at_least` and `real_at_most` hold the FAKE and REAL thresholds of the operating points by name.
    """
    points = points_from_thresholds(fake_at_least, real_at_most or {})
    by_corruption = _group(scores.clips, lambda clip: clip.corruption)
    as_is = by_corruption.get(AS_IS, [])
    by_source = _group(as_is, lambda clip: clip.source or "unknown")
    fakes = _group([clip for clip in as_is if clip.label == 1], lambda clip: clip.manipulation or "unknown")
    by_manipulation = {name: [*group, *_originals_of(group, as_is)] for name, group in fakes.items()}
    by_split = _group((clip for clip in as_is if clip.split), lambda clip: clip.split)
    by_condition = _group(as_is, lambda clip: clip.condition or NO_CONDITION)

    def figures(groups: Mapping[str, list[ScoredClip]]) -> dict[str, GroupFigures]:
        return {name: _summarize(groups[name], points, rounds) for name in sorted(groups)}

    return Evaluation(
        header=replace(header, intervals=INTERVALS_TEXT),
        clips=len(as_is),
        faults=scores.faults,
        operating_points=dict(fake_at_least),
        real_at_most={point.name: point.real_at_most for point in points},
        by_corruption={name: _summarize(group, points, rounds) for name, group in by_corruption.items()},
        by_source=figures(by_source),
        by_manipulation=figures(by_manipulation),
        by_split=figures(by_split if len(by_split) > 1 else {}),
        by_condition=figures(by_condition if any(clip.condition for clip in as_is) else {}),
        mirroring=measure_mirroring(scores.clips, default_operating_point(points), rounds=rounds),
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
        auc=samples.estimate(roc_auc),
        average_precision=samples.estimate(average_precision),
        equal_error_rate=samples.estimate(equal_error_rate),
        calibration_error=calibration_error,
        decisions={
            point.name: _decision_figures(samples, replace(samples, scores=answered), point)
            for point in points
        },
        baselines={
            name: replace(samples, scores=values).estimate(roc_auc) for name, values in baselines.items()
        },
        pairs=_pair_figures(clips),
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

    def estimate(self, metric: Metric) -> Estimate:
        """Return a metric with its interval, all None where there are too few samples."""
        if not self.rounds:
            return Estimate()
        return _estimate(
            metric_interval(metric, self.scores, self.labels, people=self.people, rounds=self.rounds)
        )

    def share(self, hits: npt.NDArray[np.bool_], among: npt.NDArray[np.bool_]) -> Estimate:
        """Return the share of `hits` [N] `among` some of the samples [N], like `estimate`."""
        if not self.rounds:
            return Estimate()
        return _estimate(share_interval(hits[among], self.people[among], rounds=self.rounds))

    def value(self, metric: float) -> float | None:
        """Return a metric without an interval, None where there are too few samples."""
        return _round(metric) if self.rounds else None


def _as_array(values: Iterable[float | None]) -> npt.NDArray[np.float64]:
    """Return values [N] float64, NaN for None."""
    return np.array([np.nan if value is None else value for value in values], np.float64)


def _baseline_scores(values: Iterable[float | None]) -> npt.NDArray[np.float64]:
    """Score softer or smaller faces as more fake; clips without a face get the median."""
    scores = -_as_array(values)
    median = np.nanmedian(scores) if not np.isnan(scores).all() else 0.0
    return np.where(np.isnan(scores), median, scores)


def _decision_figures(samples: _Samples, answered: _Samples, point: OperatingPoint) -> DecisionFigures:
    """Measure an operating point by its FAKE threshold alone, then (`answered`) by both thresholds.

    `answered` has NaN for clips without a probability.
    """
    threshold = point.fake_at_least
    fake, called = samples.labels == 1, samples.scores >= threshold
    uncertain = (answered.scores > point.real_at_most) & ~(answered.scores >= threshold)
    is_answered = ~np.isnan(answered.scores) & ~uncertain
    one: Decisions = decisions_at(samples.scores, samples.labels, threshold)
    two: SelectiveDecisions = selective_decisions_at(answered.scores, answered.labels, point)
    return DecisionFigures(
        threshold=threshold,
        accuracy=samples.share(called == fake, np.ones_like(fake)),
        precision=samples.value(one.precision),
        recall=samples.value(one.recall),
        f1=samples.value(one.f1),
        false_alarms=samples.share(called, ~fake),
        real_at_most=point.real_at_most,
        uncertain_share=answered.value(two.uncertain_share),
        answered_accuracy=answered.share(called == fake, is_answered),
        missed=answered.share(is_answered & ~called, fake),
    )


def _pair_figures(clips: Sequence[ScoredClip]) -> PairFigures:
    """Count how often a fake scores above its own original; a tie or an INCONCLUSIVE counts half."""
    real = {clip.path: clip for clip in clips if clip.label == 0}
    points = []
    for fake in clips:
        original = real.get(fake.original) if fake.label == 1 else None
        if original is None:
            continue
        if fake.fake_probability is None or original.fake_probability is None:
            points.append(0.5)
        else:
            difference = fake.fake_probability - original.fake_probability
            points.append(0.5 + 0.5 * float(np.sign(difference)))
    fraction = _round(float(np.mean(points))) if len(points) >= MIN_CLIPS else None
    return PairFigures(len(points), fraction)


def _estimate(found: Interval) -> Estimate:
    return Estimate(_round(found.value), _round(found.low), _round(found.high))


def _round(value: float) -> float | None:
    return None if np.isnan(value) else round(float(value), 5)

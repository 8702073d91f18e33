"""Mirror images and conditions that change scores by known amounts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from scored_clips import scored
from support import backdrop, write_clip

from deepfake_triton.dataset_manifest import ManifestRow
from deepfake_triton.errors import InputError
from deepfake_triton.preprocessing.video.frame_batch import FrameBatch
from deepfake_triton.preprocessing.video.sampling import FrameSelection
from deepfake_triton.training.evaluation.corruptions import AS_IS
from deepfake_triton.training.evaluation.figures import Estimate
from deepfake_triton.training.evaluation.mirroring import MIRROR_MEAN, MIRRORED, mirror_mean
from deepfake_triton.training.evaluation.report import write_report
from deepfake_triton.training.evaluation.results import EvaluationHeader, Scores, read_evaluation
from deepfake_triton.training.evaluation.scoring import score_clips
from deepfake_triton.training.evaluation.summary import summarize_scores

pytestmark = pytest.mark.compute
POINTS = {"balanced": 0.5}


def test_conditions_shift_real_clips_by_a_known_amount(tmp_path: Path) -> None:
    """Rolled real clips score 0.1 higher or lower than their plain takes, every third time lower."""
    clips = []
    for index in range(24):
        shift = -0.1 if index % 3 == 0 else 0.1
        for condition, probability in (("", 0.5), ("roll=30", 0.5 + shift)):
            name = f"real/test-{index:05d}-0-{condition or 'plain'}.mp4"
            clips.append(scored(index, 0, probability, path=name, condition=condition))
            clips.append(scored(index, 1, 0.9, path=name.replace("real", "fake"), condition=condition))
    found = summarize_scores(Scores(tuple(clips), {}), EvaluationHeader(), fake_at_least=POINTS, rounds=5)
    change = found.by_condition["roll=30"].real_change
    assert change and change.clips == 24 and change.mean_absolute == pytest.approx(0.1)
    assert change.mean == pytest.approx(0.1 / 3, abs=1e-5)
    assert found.by_condition["plain"].real_change is None
    write_report(tmp_path, found)
    assert read_evaluation(tmp_path / "evaluation.json") == found
    assert "| roll=30 | 24 | +0.033 | 0.100 |" in (tmp_path / "report.md").read_text()
    few = summarize_scores(Scores(tuple(clips[:8]), {}), EvaluationHeader(), fake_at_least=POINTS, rounds=5)
    change = few.by_condition["roll=30"].real_change
    assert change and (change.clips, change.mean) == (2, None)


def test_mirror_images_that_can_gain_nothing_have_no_gain() -> None:
    plain = [scored(index, index % 2, 0.2 + 0.6 * (index % 2)) for index in range(40)]
    clips = (*plain, *(replace(clip, corruption=MIRRORED) for clip in plain))
    found = summarize_scores(Scores(clips, {}), EvaluationHeader(), fake_at_least=POINTS, rounds=20)
    assert found.mirroring and found.mirroring.clips == 40 and found.mirroring.auc_gain == Estimate()


def test_mirror_images_that_help_by_a_known_amount(tmp_path: Path) -> None:
    """Each probability errs by ±0.3 in the clip and ∓0.3 in its mirror image: the mean is right."""
    plain = []
    for index in range(40):
        label, error = index % 2, 0.3 * (-1) ** (index // 2)
        plain.append(scored(index, label, 0.4 + 0.2 * label + error))
    mirrored = [
        replace(clip, corruption=MIRRORED, fake_probability=0.8 + 0.4 * clip.label - clip.fake_probability)
        for clip in plain
        if clip.fake_probability is not None
    ]
    means = [mirror_mean(clip, other) for clip, other in zip(plain, mirrored, strict=True)]
    scores = Scores((*plain, *mirrored, *means), {})
    found = summarize_scores(scores, EvaluationHeader(), fake_at_least={"balanced": 0.5}, rounds=50)
    figures = found.mirroring
    assert figures and figures.clips == 40 and figures.auc_gain.value and figures.auc_gain.low
    assert (figures.mean_change, figures.largest_change) == pytest.approx((0.6, 0.6))
    assert figures.other_verdicts == 1.0
    assert found.by_corruption[MIRROR_MEAN].auc.value == 1.0
    assert figures.auc_gain.value == pytest.approx(0.25) and figures.auc_gain.low > 0.1
    write_report(tmp_path, found)
    assert read_evaluation(tmp_path / "evaluation.json") == found
    said = "AUC of the mean of both, less that of either alone (interval by bootstrap alone): 0.250 ["
    assert said in (tmp_path / "report.md").read_text()
    assert mirror_mean(scored(0, 0, None), scored(0, 0, 0.3)).fake_probability is None


def test_a_mirror_image_that_fails_is_a_fault_of_its_own(tmp_path: Path) -> None:
    """The server refuses every second request: those of the mirror images."""
    write_clip(tmp_path / "0.mp4", [backdrop(96, 96)] * 4)
    rows = [ManifestRow("0.mp4", "real", "p", "s", "", "", "test")]
    requests = []

    class RefusesMirrors:
        def faces(self, frames: FrameBatch) -> list[object]:
            requests.append(frames.data[0])
            if len(requests) == 2:
                raise InputError("no mirrors")
            return []

    scores = score_clips(
        RefusesMirrors(),  # type: ignore[arg-type]
        rows,
        base=tmp_path,
        corruptions=(),
        selection=FrameSelection(4),
        mirror=True,
    )
    assert [clip.corruption for clip in scores.clips] == [AS_IS]
    assert scores.faults == {"0.mp4 (mirrored)": "no mirrors"}
    assert (requests[1] == requests[0][:, ::-1]).all()

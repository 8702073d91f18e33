"""What the card says of real-world scores, by whose weights and how good they are."""

from __future__ import annotations

from dataclasses import replace

import pytest
from real_world_scores import real_world

from deepfake_triton.training.evaluation.card.real_world import (
    CheckpointIdentity,
    RealWorldGroup,
    real_world_lines,
)
from deepfake_triton.training.evaluation.figures import Estimate

pytestmark = pytest.mark.fast


def test_a_recalibrated_copy_keeps_the_ranking_of_its_weights() -> None:
    found = real_world("a" * 64)
    text = " ".join(real_world_lines(found, CheckpointIdentity("b" * 64, "a" * 64)))
    assert "fitted again (aaaaaaaaaaaa, now bbbbbbbbbbbb)" in text and "AUC and pairs hold" in text
    assert "not been scored" not in text
    text = " ".join(real_world_lines(found, CheckpointIdentity("b" * 64, "c" * 64)))
    assert "**These weights (bbbbbbbbbbbb) have not been scored there yet**" in text


def test_better_real_world_scores_are_not_talked_down() -> None:
    good = replace(
        real_world(""),
        groups=(RealWorldGroup("all", Estimate(0.9, 0.8, 0.95), jpeg_size_auc=0.6, calibration_error=0.1),),
        real_called_fake=0,
    )
    text = " ".join(real_world_lines(good, CheckpointIdentity("")))
    assert "rule out chance" not in text and "JPEG size of the face alone" not in text
    assert "balanced`: 0 of 20" in text and "were called FAKE" not in text

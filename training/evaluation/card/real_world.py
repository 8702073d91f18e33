"""Scores on real-world clips that are not part of the project, and which weights they are of."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from textwrap import wrap
from typing import Any

from deepfake_triton.errors import DatasetError
from deepfake_triton.training.evaluation.figures import Estimate
from deepfake_triton.training.evaluation.report import figure_text

_CHANCE = 0.5
_LINE_LENGTH = 120


@dataclass(frozen=True)
class RealWorldGroup:
    """Figures of some of the clips; `jpeg_size_auc` is the AUC of the JPEG size of the face alone."""

    name: str
    auc: Estimate
    jpeg_size_auc: float
    calibration_error: float

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> RealWorldGroup:
        """Read an entry of `groups`."""
        return cls(**{**stored, "auc": Estimate(**stored["auc"])})


@dataclass(frozen=True)
class RealWorldScores:
    """Scores of one checkpoint, named by the SHA-256 of its file.

    `fake_above_original` is a share of the pairs, `real_called_fake` a number of clips at `balanced`.
    """

    checkpoint_sha256: str
    clips: int
    real: int
    groups: tuple[RealWorldGroup, ...]
    fake_above_original: float
    real_called_fake: int

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> RealWorldScores:
        """Read the content of a file."""
        groups = tuple(RealWorldGroup.from_json(group) for group in stored["groups"])
        return cls(**{**stored, "groups": groups})


def read_real_world_scores(path: Path) -> RealWorldScores:
    """Read such scores from JSON. Raises DatasetError when the file holds none."""
    try:
        return RealWorldScores.from_json(json.loads(path.read_text()))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DatasetError(f"{path}: got {error!r}, expected scores on real-world clips") from error


def real_world_lines(scores: RealWorldScores, checkpoint_sha256: str) -> list[str]:
    """Return the section of a model card: whose scores these are, the scores, what they mean to a user."""
    clips = f"{scores.clips} real-world clips that are not part of the project, {scores.real} of them real"
    if scores.checkpoint_sha256 == checkpoint_sha256:
        whose = f"These weights were scored on {clips}:"
    else:
        whose = (
            f"The weights before these were scored on {clips}. **These weights have not been scored there "
            "yet**: whether they do better or worse is not known. The weights before:"
        )
    table = [
        "| clips | AUC | JPEG size alone | calibration error |",
        "| --- | --- | --- | --- |",
        *(
            f"| {group.name} | {figure_text(group.auc)} | {group.jpeg_size_auc:.2f} | "
            f"{group.calibration_error:.2f} |"
            for group in scores.groups
        ),
    ]
    facts = [
        f"- a fake scored above its own original in {100 * scores.fake_above_original:.0f} % of the pairs",
        f"- real clips called FAKE at `balanced`: {scores.real_called_fake} of {scores.real}",
    ]
    return [*wrap(whose, _LINE_LENGTH), "", *table, "", *facts, "", *_meaning(scores)]


def _meaning(scores: RealWorldScores) -> list[str]:
    """Say what the scores mean to a user."""
    lines = [
        "What this means for you: the tables below are of clips that this project rendered and forged; "
        "expect less on videos from elsewhere.",
    ]
    if all(group.auc.value is None or group.auc.value < group.jpeg_size_auc for group in scores.groups):
        lines.append("There, the JPEG size of the face alone told real from fake better than the model did.")
    if any(group.auc.low is not None and group.auc.low <= _CHANCE for group in scores.groups):
        lines.append("The intervals do not rule out chance.")
    if scores.real_called_fake:
        every = round(scores.real / scores.real_called_fake)
        lines.append(
            f"One in {every} real videos was called FAKE: a verdict is a reason to look, never a finding."
        )
    return wrap(" ".join(lines), _LINE_LENGTH)

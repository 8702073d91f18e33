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

_CHANCE = 0.5
_LINE_LENGTH = 120
_HASH_DIGITS = 12


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

    `fake_above_original` is a share of the pairs; `real_called_fake` and `fakes_found` are numbers of clips
    called FAKE at `balanced`.
    """

    checkpoint_sha256: str
    clips: int
    real: int
    groups: tuple[RealWorldGroup, ...]
    fake_above_original: float
    real_called_fake: int
    fakes_found: int

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


@dataclass(frozen=True)
class CheckpointIdentity:
    """SHA-256 of a checkpoint's file, and of the one that it was calibrated from, if it was."""

    sha256: str
    calibrated_from: str | None = None


def real_world_lines(scores: RealWorldScores, checkpoint: CheckpointIdentity) -> list[str]:
    """Return the section of a model card: whose scores these are, the scores, what they mean to a user."""
    table = [
        "| clips | AUC | JPEG size alone | calibration error |",
        "| --- | --- | --- | --- |",
        *(
            f"| {group.name} | {_as_stored(group.auc)} | {group.jpeg_size_auc:g} | "
            f"{group.calibration_error:g} |"
            for group in scores.groups
        ),
    ]
    facts = [
        f"- a fake scored above its own original in {100 * scores.fake_above_original:g} % of the pairs",
        f"- real clips called FAKE at `balanced`: {scores.real_called_fake} of {scores.real}",
        f"- fakes called FAKE at `balanced`: {scores.fakes_found} of {scores.clips - scores.real}",
    ]
    whose = wrap(_whose(scores, checkpoint), _LINE_LENGTH)
    return [*whose, "", *table, "", *facts, "", *_meaning(scores)]


def _whose(scores: RealWorldScores, checkpoint: CheckpointIdentity) -> str:
    """Say which weights were scored, and what that says of this checkpoint."""
    clips = f"{scores.clips} real-world clips that are not part of the project, {scores.real} of them real"
    scored, this = scores.checkpoint_sha256, checkpoint.sha256[:_HASH_DIGITS]
    if scored == checkpoint.sha256:
        return f"These weights ({this}) were scored on {clips}:"
    if scored == checkpoint.calibrated_from:
        return (
            f"These weights were scored on {clips}, before their calibration and thresholds were fitted "
            f"again ({scored[:_HASH_DIGITS]}, now {this}). That changes no ranking: AUC and pairs hold; the "
            "calibration error and the numbers called FAKE are those of before:"
        )
    other = f"weights {scored[:_HASH_DIGITS]}"
    return (
        f"{other.capitalize()} were scored on {clips}. **These weights ({this}) have not been scored there "
        f"yet**: whether they do better or worse is not known. Of {other}:"
    )


def _as_stored(auc: Estimate) -> str:
    """Format an AUC with its interval by the digits that it was stored with."""
    if auc.value is None:
        return "–"
    return f"{auc.value:g}" if auc.low is None else f"{auc.value:g} [{auc.low:g}, {auc.high:g}]"


def _meaning(scores: RealWorldScores) -> list[str]:
    """Say what the scores mean to a user."""
    lines = [
        "What this means for you: the tables below are of clips that this project rendered and forged; "
        "expect less on videos from elsewhere.",
    ]
    outdone = [
        f"{group.name}, {group.jpeg_size_auc:g} against {group.auc.value:g}"
        for group in scores.groups
        if group.auc.value is not None and group.auc.value < group.jpeg_size_auc
    ]
    if outdone:
        lines.append(
            f"There, the JPEG size of the face alone has a higher AUC than the model ({'; '.join(outdone)})."
        )
    by_chance = [
        group.name for group in scores.groups if group.auc.low is not None and group.auc.low <= _CHANCE
    ]
    if by_chance:
        lines.append(f"For these clips the interval does not rule out chance: {'; '.join(by_chance)}.")
    if scores.real_called_fake:
        lines.append(
            f"{scores.real_called_fake} of {scores.real} real videos were called FAKE: a verdict is a reason "
            "to look, never a finding."
        )
    return wrap(" ".join(lines), _LINE_LENGTH)

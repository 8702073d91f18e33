"""Model card, generated from the metadata of a checkpoint and an evaluation."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepfake_triton.files.hashing import sha256_of_file
from deepfake_triton.models.checkpoints.sidecar import read_metadata
from deepfake_triton.operating_point import points_from_thresholds
from deepfake_triton.training.evaluation.calibration.recalibration import CALIBRATED_FROM
from deepfake_triton.training.evaluation.card.real_world import (
    CheckpointIdentity,
    read_real_world_scores,
    real_world_lines,
)
from deepfake_triton.training.evaluation.card.sections import (
    TitledEvaluation,
    borders_lines,
    choosing_splits,
    evaluation_lines,
    titled,
)
from deepfake_triton.training.evaluation.figures import GroupFigures
from deepfake_triton.training.evaluation.report import figure_text
from deepfake_triton.training.evaluation.results import Evaluation, read_evaluation
from deepfake_triton.training.evaluation.summary import NO_CONDITION
from deepfake_triton.training.evaluation.thresholds import require_same_thresholds

_WEAK_AUC = 0.9
_USES = """## Intended use

- Use it to rank videos for human review. Its result is a probability, not a proof.
- Do not use it to accuse anyone, to decide about a person automatically, or as evidence.
- It evaluates faces only: voices, text, bodies and fully generated scenes are not considered.
- Data unlike that of its training (other cameras, codecs, make-up, masks) can cause errors both ways.
"""


@dataclass(frozen=True)
class CardSources:
    """Files that a card is made of: the evaluation of `test`, and what there is beside it.

    `further` are evaluations of other clips, such as of `transfer-odd`, and `real_world` are scores on clips
    that are not part of the project.
    """

    evaluation: Path
    further: tuple[Path, ...] = ()
    real_world: Path | None = None


def format_model_card(checkpoint: Path, sources: CardSources, data_notes: str) -> str:
    """Return the model card in Markdown of a checkpoint and its evaluations.

    `data_notes` describes the training data and their licenses. Raises CheckpointError or DatasetError when a
    file cannot be read, or an evaluation was made with other thresholds than the checkpoint has.
    """
    metadata = read_metadata(checkpoint)
    evaluations = {path: read_evaluation(path) for path in (sources.evaluation, *sources.further)}
    for path, found in evaluations.items():
        require_same_thresholds(found, metadata, path)
    evaluated, *further = titled(evaluations)
    settings = _load_json(metadata, "training_settings")
    lines = ["# Model card", "", *_checkpoint_lines(metadata, settings), ""]
    if sources.real_world:
        scores = read_real_world_scores(sources.real_world)
        identity = CheckpointIdentity(sha256_of_file(checkpoint), metadata.get(CALIBRATED_FROM))
        lines += ["## Real-world clips", "", *real_world_lines(scores, identity), ""]
    lines += ["## Training data", "", data_notes.strip(), ""]
    if settings.get("teacher"):
        name = settings["teacher"]["name"]
        lines += [
            f"Teacher, fine-tuned, then transferred to the backbone and distilled into it: {name}.",
            "",
        ]
    lines += [
        "## Training procedure",
        "",
        "```console",
        f"$ {metadata.get('training_command', 'unknown')}",
        "```",
        "",
    ]
    lines += [f"- {key}: {json.dumps(value)}" for key, value in settings.items()]
    made_on = _load_json(metadata, "borders_calibrated_on")
    lines += borders_lines(made_on, [evaluated, *further])
    lines += ["", "## Evaluation", "", *evaluation_lines(evaluated.evaluated)]
    for one in further:
        lines += [f"### {one.title}", ""]
        if one.shows(choosing_splits(made_on)):
            lines += ["The thresholds were chosen on clips of this split.", ""]
        lines += evaluation_lines(one.evaluated)
    lines += ["## Limitations", ""]
    lines += _failures(evaluated, further)
    return "\n".join([*lines, "", _USES])


def _checkpoint_lines(metadata: Mapping[str, str], settings: Mapping[str, Any]) -> list[str]:
    calibration = f"scale {metadata.get('calibration_scale')}, shift {metadata.get('calibration_shift')}"
    return [
        f"- architecture: {metadata.get('architecture')}",
        f"- crops: {metadata.get('crop_side')} px, margin {metadata.get('crop_margin')}, "
        f"{metadata.get('channel_order')}",
        f"- temporal model: {metadata.get('temporal')}, pooling {metadata.get('pooling')}",
        f"- probability calibration (Platt): {calibration}",
        f"- calibrated on: {metadata.get('calibrated_on', 'clips of held-out people, in training')}",
        f"- operating points: {_operating_points(metadata)}",
        *(
            f"- {key.replace('_', ' ')}: {metadata[key]}"
            for key in ("borders_calibrated_on", "borders_measured_on")
            if key in metadata and "cells" not in _load_json(metadata, key)  # those have a table
        ),
        f"- trained on: {settings.get('from')}",
        f"- data manifest, sha256: {metadata.get('manifest_sha256')}",
    ]


def _operating_points(metadata: Mapping[str, str]) -> str:
    """Format the operating points, each with both thresholds."""
    points = points_from_thresholds(
        _load_json(metadata, "operating_points"), _load_json(metadata, "real_at_most")
    )
    return "; ".join(str(point) for point in points)


def _failures(evaluated: TitledEvaluation, further: Sequence[TitledEvaluation]) -> list[str]:
    """List the groups of clips with an AUC under 0.9, the worst first."""
    groups = _groups(evaluated.evaluated)
    for one in further:
        groups |= {f"{one.title}, {name}": group for name, group in _groups(one.evaluated).items()}
    measured = [(group.auc.value, name) for name, group in groups.items() if group.auc.value is not None]
    if not measured:
        return ["- Nothing was measured on enough clips to say."]
    weak = sorted((item for item in measured if item[0] < _WEAK_AUC), key=lambda item: item[0])
    lines = [f"- {name}: AUC {figure_text(groups[name].auc)}" for _, name in weak]
    return lines or ["- No group measured here is under an AUC of 0.9; other data will find some."]


def _groups(evaluated: Evaluation) -> dict[str, GroupFigures]:
    return {
        **evaluated.by_corruption,
        **evaluated.by_manipulation,
        **evaluated.by_split,
        **{name: group for name, group in evaluated.by_condition.items() if name != NO_CONDITION},
    }


def _load_json(metadata: Mapping[str, str], key: str) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(metadata.get(key, "{}"))
    return value

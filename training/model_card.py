"""The model card, generated: what a checkpoint says of itself, and what an evaluation measured."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from deepfake_triton.errors import CheckpointError, DatasetError
from deepfake_triton.training.evaluation_report import figure_text, figures_table

_USES = """## What to use it for, and what not

- Use it to sort videos for a person to look at. Its answer is a probability, not a proof.
- Do not use it to accuse anyone, to decide about a person automatically, or as evidence.
- It judges faces only: voices, text, bodies and wholly generated scenes are not looked at.
- Pictures of a kind that it never saw (other cameras, codecs, make-up, masks) can fool it both ways.
"""


def model_card(checkpoint: Path, evaluation: Path, data_notes: str) -> str:
    """The card in Markdown from a checkpoint's metadata and an `evaluation.json`.

    `data_notes` says whose data it was trained on, under which licences. Raises CheckpointError or
    DatasetError when a file is not what it should be.
    """
    metadata, figures = metadata_of(checkpoint), evaluation_figures(evaluation)
    settings = _json(metadata, "training_settings")
    lines = ["# Model card", "", *_facts(metadata, settings), "", "## Data", "", data_notes.strip(), ""]
    if settings.get("teacher"):
        name = settings["teacher"]["name"]
        lines += [
            f"Teacher, whose tuned weights the backbone began with and from which it learned: {name}.",
            "",
        ]
    lines += ["## Recipe", "", "```console", f"$ {metadata.get('training_command', 'unknown')}", "```", ""]
    lines += [f"- {key}: {json.dumps(value)}" for key, value in settings.items()]
    lines += ["", "## Figures", ""]
    facts = [f"- {key}: {figures[key]}" for key in ("model", "manifest", "split", "frames") if key in figures]
    lines += [*facts, "- intervals: 95 %, bootstrap over people", ""]
    lines += [*figures_table(figures["variants"], "variant"), ""]
    lines += [*figures_table(figures["by_manipulation"], "manipulation"), "", "## Where it fails", ""]
    lines += _failures(figures)
    return "\n".join([*lines, "", _USES])


def _facts(metadata: Mapping[str, str], settings: Mapping[str, Any]) -> list[str]:
    calibration = f"scale {metadata.get('calibration_scale')}, shift {metadata.get('calibration_shift')}"
    return [
        f"- architecture: {metadata.get('architecture')}",
        f"- crops: {metadata.get('crop_side')} px, margin {metadata.get('crop_margin')}, "
        f"{metadata.get('channel_order')}",
        f"- time: {metadata.get('temporal')}, pooling {metadata.get('pooling')}",
        f"- calibration of the logits: {calibration}",
        f"- calibrated on: {metadata.get('calibrated_on', 'clips of held-out people, in training')}",
        f"- operating points: {metadata.get('operating_points')}",
        f"- learned from: {settings.get('from')}",
        f"- data manifest, sha256: {metadata.get('manifest_sha256')}",
    ]


def _failures(figures: Mapping[str, Any]) -> list[str]:
    """The variants and manipulations from the worst, as far as they are under 0.9."""
    groups = {**figures["variants"], **figures["by_manipulation"]}
    known = {name: group["auc"] for name, group in groups.items() if group["auc"]["value"] is not None}
    weak = sorted((item for item in known.items() if item[1]["value"] < 0.9), key=lambda i: i[1]["value"])
    lines = [f"- {name}: AUC {figure_text(auc)}" for name, auc in weak]
    return lines or ["- No group measured here is under an AUC of 0.9; other data will find some."]


def metadata_of(checkpoint: Path) -> dict[str, str]:
    """What a safetensors file says of itself. Raises CheckpointError."""
    try:
        with safe_open(checkpoint, framework="np") as file:
            return dict(file.metadata() or {})
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{checkpoint}: cannot be read as a checkpoint: {error}") from error


def evaluation_figures(evaluation: Path) -> dict[str, Any]:
    """What `evaluate` wrote. Raises DatasetError."""
    try:
        figures: dict[str, Any] = json.loads(evaluation.read_text())
    except (OSError, ValueError) as error:
        raise DatasetError(f"{evaluation}: cannot be read as JSON: {error}") from error
    missing = [key for key in ("variants", "by_manipulation") if key not in figures]
    if missing:
        raise DatasetError(f"{evaluation}: {', '.join(missing)} missing; expected what `evaluate` wrote")
    return figures


def _json(metadata: Mapping[str, str], key: str) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(metadata.get(key, "{}"))
    return value

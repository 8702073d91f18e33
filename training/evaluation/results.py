"""Results of an evaluation as typed values, and their JSON form, the file `evaluation.json`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from deepfake_triton.errors import DatasetError
from deepfake_triton.json_object import JsonObject
from deepfake_triton.training.evaluation.figures import GroupFigures, MirrorFigures

SCHEMA_VERSION = 1
"""Version of `evaluation.json`; files of earlier releases have none, and fewer keys."""


@dataclass(frozen=True)
class ScoredClip:
    """Scores of one video under one corruption; `label` is 1 for fake.

    `fake_probability` is the served one (None: INCONCLUSIVE). The baselines score the `sharpness` of the
    face, and its size as JPEG, `jpeg_bytes`. `split` names the half where it is `transfer`, and `condition`
    what real and fake clips alike show by construction; empty for nothing.
    """

    path: str
    label: int
    identity: str
    source: str
    manipulation: str
    original: str
    corruption: str
    fake_probability: float | None
    sharpness: float | None
    jpeg_bytes: float | None
    split: str = ""
    condition: str = ""

    def to_json(self) -> JsonObject:
        """Return an entry of `scores`."""
        return {"variant" if name == "corruption" else name: value for name, value in asdict(self).items()}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> ScoredClip:
        """Read an entry of `scores`; only label and probability are required."""
        return cls(
            path=stored.get("path", ""),
            label=int(stored["label"]),
            identity=stored.get("identity", ""),
            source=stored.get("source", ""),
            manipulation=stored.get("manipulation", ""),
            original=stored.get("original", ""),
            corruption=stored.get("variant", ""),
            fake_probability=stored["fake_probability"],
            sharpness=stored.get("sharpness"),
            jpeg_bytes=stored.get("jpeg_bytes"),
            split=stored.get("split", ""),
            condition=stored.get("condition", ""),
        )


@dataclass(frozen=True)
class Scores:
    """Scored clips, and the reason for each that could not be processed, by name."""

    clips: tuple[ScoredClip, ...]
    faults: dict[str, str]


@dataclass(frozen=True)
class EvaluationHeader:
    """What was evaluated; None (not written) where it is unknown, as in evaluations of earlier releases."""

    model: str | None = None
    manifest: str | None = None
    split: str | None = None
    frames: int | None = None
    normalized: bool | None = None
    date: str | None = None
    intervals: str | None = None

    def to_json(self) -> JsonObject:
        """Return the first keys of `evaluation.json`."""
        values = {"normalised" if name == "normalized" else name: v for name, v in asdict(self).items()}
        return {name: value for name, value in values.items() if value is not None}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> EvaluationHeader:
        """Read the first keys of `evaluation.json`."""
        return cls(
            model=stored.get("model"),
            manifest=stored.get("manifest"),
            split=stored.get("split"),
            frames=stored.get("frames"),
            normalized=stored.get("normalised"),
            date=stored.get("date"),
            intervals=stored.get("intervals"),
        )


_GROUPS = {
    "variants": "by_corruption",
    "by_source": "by_source",
    "by_manipulation": "by_manipulation",
    "by_split": "by_split",
    "by_condition": "by_condition",
}
"""Keys of groups in `evaluation.json`, and their fields."""


@dataclass(frozen=True)
class Evaluation:
    """A whole evaluation: metrics by corruption over all clips, and by other groups without a corruption.

    `by_split` and `by_condition` are empty where all clips are of one split or none has a condition, and
    `mirroring` is None where mirror images were not scored. `operating_points` holds the FAKE threshold of
    each operating point, and `real_at_most` its REAL threshold (None in evaluations of earlier releases).
    """

    header: EvaluationHeader
    clips: int
    faults: dict[str, str]
    operating_points: dict[str, float]
    real_at_most: dict[str, float] | None
    by_corruption: dict[str, GroupFigures]
    by_source: dict[str, GroupFigures]
    by_manipulation: dict[str, GroupFigures]
    by_split: dict[str, GroupFigures] = field(default_factory=dict)
    by_condition: dict[str, GroupFigures] = field(default_factory=dict)
    mirroring: MirrorFigures | None = None
    scores: tuple[ScoredClip, ...] = field(default=(), repr=False)

    def to_json(self) -> JsonObject:
        """Return the content of `evaluation.json`."""
        thresholds: dict[str, Any] = {"operating_points": self.operating_points}
        if self.real_at_most is not None:
            thresholds["real_at_most"] = self.real_at_most
        return {
            "schema_version": SCHEMA_VERSION,
            **self.header.to_json(),
            "clips": self.clips,
            "faults": self.faults,
            **thresholds,
            **{
                key: {name: group.to_json() for name, group in getattr(self, field_name).items()}
                for key, field_name in _GROUPS.items()
            },
            **({"mirroring": asdict(self.mirroring)} if self.mirroring else {}),
            "scores": [clip.to_json() for clip in self.scores],
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Evaluation:
        """Read the content of `evaluation.json`, also of earlier releases."""
        groups = {
            field_name: {name: GroupFigures.from_json(group) for name, group in stored.get(key, {}).items()}
            for key, field_name in _GROUPS.items()
        }
        mirroring = stored.get("mirroring")
        return cls(
            header=EvaluationHeader.from_json(stored),
            clips=stored.get("clips", 0),
            faults=stored.get("faults", {}),
            operating_points=stored.get("operating_points", {}),
            real_at_most=stored.get("real_at_most"),
            **groups,
            mirroring=MirrorFigures.from_json(mirroring) if mirroring else None,
            scores=tuple(ScoredClip.from_json(clip) for clip in stored.get("scores", ())),
        )


def read_evaluation(path: Path) -> Evaluation:
    """Read an `evaluation.json`. Raises DatasetError when it is not one."""
    try:
        stored: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path}: cannot be read as JSON: {error}") from error
    missing = [key for key in ("variants", "by_manipulation") if key not in stored]
    if missing:
        raise DatasetError(f"{path}: {', '.join(missing)} missing; expected what `evaluate` wrote")
    try:
        return Evaluation.from_json(stored)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DatasetError(f"{path}: got {error!r}, expected what `evaluate` wrote") from error

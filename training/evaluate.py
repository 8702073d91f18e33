"""Labelled videos through the served ensemble, beside two rivals that learn nothing, to figures."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from deepfake_triton.client import DeepfakeClient
from deepfake_triton.errors import InputError
from deepfake_triton.manifest import ManifestRow
from deepfake_triton.metrics import (
    average_precision,
    bootstrap,
    decisions_at,
    equal_error_rate,
    expected_calibration_error,
    roc_auc,
)
from deepfake_triton.preprocessing.crops import CropRule, crop_face
from deepfake_triton.preprocessing.quality import sharpness_of
from deepfake_triton.preprocessing.sampling import FrameSelection
from deepfake_triton.preprocessing.video import decode_clip
from deepfake_triton.training.variants import AS_IS, NORMALISED, Variant, write_variant

INCONCLUSIVE_SCORE = 0.5
_RIVAL_CROP = CropRule(112)


@dataclass(frozen=True)
class ScoredClip:
    """One video under one variant: the served probability (None: INCONCLUSIVE), and its rivals' scores."""

    path: str
    label: int
    identity: str
    source: str
    manipulation: str
    original: str
    variant: str
    fake_probability: float | None
    sharpness: float | None
    jpeg_bytes: float | None


@dataclass(frozen=True)
class Scores:
    """All clips, and those that could not be processed, with the reason."""

    clips: tuple[ScoredClip, ...]
    faults: dict[str, str]


def score_clips(
    client: DeepfakeClient,
    rows: Sequence[ManifestRow],
    base: Path,
    variants: Sequence[Variant],
    selection: FrameSelection,
    *,
    normalise: bool = False,
    on_clip: Callable[[], None] | None = None,
) -> Scores:
    """Ask the server for every row and every variant of it; `normalise` re-encodes all alike first.

    Raises ServerError: without a server there are no figures.
    """
    clips: list[ScoredClip] = []
    faults: dict[str, str] = {}
    plain = replace(NORMALISED, name=AS_IS) if normalise else None
    with tempfile.TemporaryDirectory(prefix="deepfake-triton-") as folder:
        for row in rows:
            for variant in (plain, *variants):
                name = variant.name if variant else AS_IS
                try:
                    video = base / row.path
                    if variant:
                        video = Path(folder) / "clip.mp4"
                        write_variant(base / row.path, video, variant, selection.num_frames)
                    clips.append(_scored(client, row, name, video, selection))
                except InputError as error:
                    faults[f"{row.path} ({name})"] = str(error)
                if on_clip:
                    on_clip()
    return Scores(tuple(clips), faults)


def _scored(
    client: DeepfakeClient, row: ManifestRow, variant: str, video: Path, selection: FrameSelection
) -> ScoredClip:
    frames = decode_clip(video, selection).frames
    faces = client.faces(frames)
    worst = max(faces, key=lambda face: face.fake_probability, default=None)
    sharpness = jpeg_bytes = None
    if worst is not None:
        first = int(np.searchsorted(frames.pts_seconds, worst.segments[0].start_seconds))
        crop = crop_face(frames.data[first], np.array(worst.box), _RIVAL_CROP)
        sharpness, jpeg_bytes = sharpness_of(crop), jpeg_bytes_of(crop)
    return ScoredClip(
        path=row.path,
        label=int(row.label == "fake"),
        identity=row.identity,
        source=row.source,
        manipulation=row.manipulation,
        original=row.original,
        variant=variant,
        fake_probability=worst.fake_probability if worst else None,
        sharpness=sharpness,
        jpeg_bytes=jpeg_bytes,
    )


def jpeg_bytes_of(crop: npt.NDArray[np.uint8]) -> float:
    """Size of the crop [S, S, 3] uint8 RGB as JPEG of quality 90."""
    return float(cv2.imencode(".jpg", crop[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 90])[1].size)


def figures_of(scores: Scores, thresholds: dict[str, float], rounds: int = 1000) -> dict[str, Any]:
    """Every figure, as JSON: for each variant over all clips, by source and by manipulation, and per pair."""
    by_variant: dict[str, list[ScoredClip]] = defaultdict(list)
    for clip in scores.clips:
        by_variant[clip.variant].append(clip)
    plain = by_variant.get(AS_IS, [])
    return {
        "clips": len(plain),
        "faults": scores.faults,
        "operating_points": thresholds,
        "variants": {name: _summary(c, thresholds, rounds) for name, c in by_variant.items()},
        "by_source": {
            name: _summary(c, thresholds, rounds) for name, c in _grouped(plain, lambda c: c.source).items()
        },
        "by_manipulation": {
            name: _summary(
                [*c, *(each for each in plain if each.label == 0 and _belongs(each, c))], thresholds, rounds
            )
            for name, c in _grouped([c for c in plain if c.label == 1], lambda c: c.manipulation).items()
        },
    }


def _grouped(clips: Iterable[ScoredClip], key: Callable[[ScoredClip], str]) -> dict[str, list[ScoredClip]]:
    groups: dict[str, list[ScoredClip]] = defaultdict(list)
    for clip in clips:
        groups[key(clip) or "unknown"].append(clip)
    return dict(sorted(groups.items()))


def _belongs(real: ScoredClip, fakes: list[ScoredClip]) -> bool:
    """The originals of these fakes; all real clips where the manifest names none."""
    originals = {fake.original for fake in fakes if fake.original}
    return not originals or real.path in originals


def _summary(clips: list[ScoredClip], thresholds: dict[str, float], rounds: int) -> dict[str, Any]:
    labels = np.array([clip.label for clip in clips], np.int64)
    people = np.unique([clip.identity for clip in clips], return_inverse=True)[1].astype(np.int64)
    served = np.array(
        [INCONCLUSIVE_SCORE if c.fake_probability is None else c.fake_probability for c in clips]
    )
    known = np.array([clip.fake_probability is not None for clip in clips])
    summary: dict[str, Any] = {
        "clips": len(clips),
        "real": int((labels == 0).sum()),
        "fake": int((labels == 1).sum()),
        "inconclusive_share": round(1 - float(known.mean()), 5),
    }
    figures = {
        "auc": roc_auc,
        "average_precision": average_precision,
        "equal_error_rate": equal_error_rate,
    }
    for name, figure in figures.items():
        summary[name] = _interval(bootstrap(figure, served, labels, people, rounds))
    if known.any():
        calibrated = bootstrap(
            expected_calibration_error, served[known], labels[known], people[known], rounds
        )
        summary["calibration_error"] = _interval(calibrated)
    summary["decisions"] = {
        name: _decisions(served, labels, people, threshold, rounds) for name, threshold in thresholds.items()
    }
    summary["rivals"] = {
        name: _interval(bootstrap(roc_auc, _rival(clips, name), labels, people, rounds))
        for name in ("sharpness", "jpeg_bytes")
    }
    summary["pairs"] = _pairs(clips)
    return summary


def _rival(clips: list[ScoredClip], name: str) -> npt.NDArray[np.float64]:
    """Softer and smaller means fake; a clip without a face stands in the middle."""
    values = np.array([np.nan if (v := getattr(c, name)) is None else -v for c in clips], np.float64)
    middle = np.nanmedian(values) if not np.isnan(values).all() else 0.0
    return np.where(np.isnan(values), middle, values)


def _decisions(
    served: npt.NDArray[np.float64],
    labels: npt.NDArray[np.int64],
    people: npt.NDArray[np.int64],
    threshold: float,
    rounds: int,
) -> dict[str, Any]:
    found: dict[str, Any] = {
        key: _rounded(value) for key, value in asdict(decisions_at(served, labels, threshold)).items()
    }
    for name in ("accuracy", "false_alarms"):
        figure = bootstrap(
            lambda s, y, name=name: float(getattr(decisions_at(s, y, threshold), name)),  # type: ignore[misc]
            served,
            labels,
            people,
            rounds,
        )
        found[name] = _interval(figure)
    return found


def _pairs(clips: list[ScoredClip]) -> dict[str, Any]:
    """How often a fake scores above its own original; a tie or an INCONCLUSIVE counts half."""
    real = {clip.path: clip for clip in clips if clip.label == 0}
    points = []
    for fake in clips:
        original = real.get(fake.original) if fake.label == 1 else None
        if original is None:
            continue
        if fake.fake_probability is None or original.fake_probability is None:
            points.append(0.5)
        else:
            gap = fake.fake_probability - original.fake_probability
            points.append(0.5 + 0.5 * float(np.sign(gap)))
    share = _rounded(float(np.mean(points))) if points else None
    return {"pairs": len(points), "fake_above_original": share}


def _interval(interval: Any) -> dict[str, float | None]:
    return {key: _rounded(value) for key, value in asdict(interval).items()}


def _rounded(value: float) -> float | None:
    return None if np.isnan(value) else round(float(value), 5)

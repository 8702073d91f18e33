"""Verdicts whose sentences, reports and pages are known: two persons, windows of one second."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from deepfake_triton.client.verdicts.assembly import verdict_from_faces
from deepfake_triton.client.verdicts.quality_gate import EvidenceRule
from deepfake_triton.client.verdicts.verdict import (
    FaceVerdict,
    Latency,
    ModelInfo,
    Segment,
    Sighting,
    VideoVerdict,
)


def model(weights: str = "default", *, real: float = 0.27, fake: float = 0.5) -> ModelInfo:
    return ModelInfo(
        *("deepfake_detector", "3", weights, "f00d" * 16, fake),
        operating_points={"balanced": fake, "conservative": 0.974},
        operating_point_name="balanced",
        real_at_most=real,
        real_borders={"balanced": real, "conservative": real},
    )


def person(track: int, windows: Sequence[tuple[float, float]], **quality: float) -> FaceVerdict:
    """A person seen in windows of a second, given as (start, probability), 25 frames each; in frames of
    200x100 its box is 20 px wide and moves right by 1 px a frame."""
    sightings = tuple(
        Sighting(
            start + np.arange(25) / 25,
            np.asarray([[10 + i, 20, 30 + i, 60] for i in range(25)], np.float32),
            (200, 100),
            probability,
        )
        for start, probability in windows
    )
    return FaceVerdict(
        track=track,
        fake_probability=float(np.mean([probability for _, probability in windows])),
        frames_observed=25 * len(windows),
        segments=tuple(Segment(start, start + 1, probability) for start, probability in windows),
        box=(10.0, 20.0, 30.0, 60.0),
        face_px=quality.get("face_px", 90.0),
        sharpness=quality.get("sharpness", 100.0),
        blockiness=quality.get("blockiness", 0.4),
        sightings=sightings,
        portrait=np.full((96, 96, 3), (200, 120, 40), np.uint8),
    )


def verdict(*faces: FaceVerdict, name: str = "clip.mp4", **more: Any) -> VideoVerdict:
    windows = max((len(face.segments) for face in faces), default=1)
    return verdict_from_faces(
        name,
        faces,
        more.pop("model", model()),
        evidence=EvidenceRule(),
        frames_decoded=more.pop("frames_decoded", 25 * windows),
        duration_seconds=more.pop("duration_seconds", 60.0),
        latency_ms=Latency(10, 20, 30),
        num_windows=windows,
        **more,
    )

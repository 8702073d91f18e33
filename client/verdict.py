"""From the ensemble's answer to a verdict: pure functions and the frozen result types."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import Enum
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from deepfake_triton.client.evidence import EvidenceRule, size_and_sharpness
from deepfake_triton.preprocessing.video import DecodedClip, FrameBatch


class Verdict(str, Enum):
    """What the server's model says of a video."""

    FAKE = "FAKE"
    REAL = "REAL"
    INCONCLUSIVE = "INCONCLUSIVE"


@dataclass(frozen=True)
class Segment:
    """A stretch of the video, in seconds on its own clock, and the probability of FAKE there."""

    start_seconds: float
    end_seconds: float
    fake_probability: float


@dataclass(frozen=True)
class FaceVerdict:
    """One face through the clip; `box` is where it was first seen: x1 y1 x2 y2 in px of the frames sent.

    `face_px` and `sharpness` are medians over the clip; see `evidence`.
    """

    track: int
    fake_probability: float
    frames_observed: int
    segments: tuple[Segment, ...]
    box: tuple[float, float, float, float]
    face_px: float
    sharpness: float

    def as_dict(self) -> dict[str, Any]:
        """The documented JSON."""
        return {
            "track": self.track,
            "fake_probability": self.fake_probability,
            "frames_observed": self.frames_observed,
            "segments": [asdict(segment) for segment in self.segments],
        }


@dataclass(frozen=True)
class ModelInfo:
    """Which model answered; `weights` is default, custom or untrained (then the verdict means nothing).

    `operating_point` is the threshold for FAKE in use, one of the server's `operating_points` by name.
    """

    name: str
    version: str
    weights: str
    sha256: str
    operating_point: float
    operating_points: Mapping[str, float] = field(default_factory=dict)

    DOCUMENTED: ClassVar[tuple[str, ...]] = ("name", "version", "weights", "sha256")

    def as_dict(self) -> dict[str, Any]:
        """The documented JSON."""
        return {key: getattr(self, key) for key in self.DOCUMENTED}


@dataclass(frozen=True)
class Latency:
    """Milliseconds."""

    decode: float
    infer: float
    total: float

    @classmethod
    def between(cls, started: float, decoded: float, ended: float) -> Latency:
        """Of a video, from moments in seconds on one clock."""
        return cls(1000 * (decoded - started), 1000 * (ended - decoded), 1000 * (ended - started))


@dataclass(frozen=True)
class VideoVerdict:
    """The answer for one video; `fake_probability` is the highest among the faces that show enough to be
    judged, None without one.

    `reason` is None, or says why there is no verdict (`no_face`, `too_few_frames`, `face_too_small`,
    `low_quality`: what the most suspicious face lacks), or that only a part of a cut or damaged
    file could be judged (`truncated`; `fault` then says what is wrong with it).
    """

    video: str
    verdict: Verdict
    fake_probability: float | None
    reason: str | None
    faces: tuple[FaceVerdict, ...]
    model: ModelInfo
    frames_decoded: int
    duration_seconds: float
    latency_ms: Latency
    fault: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """The documented JSON."""
        return {
            "video": self.video,
            "verdict": self.verdict.value,
            "fake_probability": self.fake_probability,
            "reason": self.reason,
            "faces": [face.as_dict() for face in self.faces],
            "model": self.model.as_dict(),
            "frames_decoded": self.frames_decoded,
            "duration_seconds": self.duration_seconds,
            "latency_ms": asdict(self.latency_ms),
            "error": None,
        }


def failure_as_dict(video: str, error: Exception, model: ModelInfo | None) -> dict[str, Any]:
    """The documented JSON for a video that could not be processed; `model` where a server said so much."""
    return {
        "video": video,
        "verdict": None,
        "fake_probability": None,
        "reason": None,
        "faces": [],
        "model": model.as_dict() if model else dict.fromkeys(ModelInfo.DOCUMENTED),
        "frames_decoded": 0,
        "duration_seconds": None,
        "latency_ms": None,
        "error": {"type": type(error).__name__, "message": str(error)},
    }


def faces_from_answer(
    frames: FrameBatch,
    fake_probability: npt.NDArray[np.float32],
    boxes: npt.NDArray[np.float32],
    observed: npt.NDArray[np.bool_],
) -> tuple[FaceVerdict, ...]:
    """The faces of a clip from `fake_probability` [F, 1], `boxes` [F, T, 4] and `observed` [F, T].

    Rows in which nothing was observed are no faces and are left out.
    """
    shown_until = np.append(frames.pts_seconds[1:], frames.end_seconds)
    faces: list[FaceVerdict] = []
    for row in np.flatnonzero(observed.any(axis=1)):
        seen = np.flatnonzero(observed[row])
        probability = float(fake_probability[row, 0])
        segment = Segment(float(frames.pts_seconds[seen[0]]), float(shown_until[seen[-1]]), probability)
        x1, y1, x2, y2 = (float(value) for value in boxes[row, seen[0]])
        shown = size_and_sharpness(frames.data, boxes[row], seen)
        faces.append(FaceVerdict(len(faces), probability, len(seen), (segment,), (x1, y1, x2, y2), *shown))
    return tuple(faces)


def verdict_from_faces(
    video: str,
    clip: DecodedClip,
    faces: tuple[FaceVerdict, ...],
    model: ModelInfo,
    latency_ms: Latency,
    rule: EvidenceRule,
) -> VideoVerdict:
    """FAKE at or above the model's operating point, REAL below, INCONCLUSIVE without a face that shows what
    the `rule` asks for."""
    ranked = sorted(faces, key=lambda face: -face.fake_probability)
    lacks = [rule.lack(face, len(clip.frames)) for face in ranked]
    highest = next((f.fake_probability for f, lack in zip(ranked, lacks, strict=True) if not lack), None)
    if highest is None:
        verdict, reason = Verdict.INCONCLUSIVE, lacks[0] if lacks else "no_face"
    else:
        verdict = Verdict.FAKE if highest >= model.operating_point else Verdict.REAL
        reason = "truncated" if clip.fault else None
    return VideoVerdict(
        video=video,
        verdict=verdict,
        fake_probability=highest,
        reason=reason,
        faces=faces,
        model=model,
        frames_decoded=len(clip.frames),
        duration_seconds=clip.duration_seconds,
        latency_ms=latency_ms,
        fault=clip.fault,
    )

"""From the ensemble's answer to a verdict: pure functions and the frozen result types."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from enum import Enum
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from deepfake_triton.client.appearance import portrait_of
from deepfake_triton.client.evidence import EvidenceRule, size_and_sharpness
from deepfake_triton.preprocessing.video import FrameBatch


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
class Sighting:
    """A face in those frames of one window in which it was seen: `pts_seconds` [N], and `boxes` [N, 4]
    float32, x1 y1 x2 y2 in px of the frames sent, which were `frame_size` (width, height)."""

    pts_seconds: npt.NDArray[np.float64]
    boxes: npt.NDArray[np.float32]
    frame_size: tuple[int, int]
    fake_probability: float


@dataclass(frozen=True)
class FaceVerdict:
    """One person; `box` is where they were first seen: x1 y1 x2 y2 in px of the frames sent.

    `segments` and `sightings` have one entry for each window. `face_px` and `sharpness` are medians, see
    `evidence`; `portrait` [96, 96, 3] RGB is the clearest. `verdict` and `reason` are as for a video, None in
    the answer on single frames.
    """

    track: int
    fake_probability: float
    frames_observed: int
    segments: tuple[Segment, ...]
    box: tuple[float, float, float, float]
    face_px: float
    sharpness: float
    verdict: Verdict | None = None
    reason: str | None = None
    sightings: tuple[Sighting, ...] = field(default=(), repr=False, compare=False)
    portrait: npt.NDArray[np.uint8] = field(
        default_factory=lambda: np.zeros((1, 1, 3), np.uint8), repr=False, compare=False
    )

    def as_dict(self) -> dict[str, Any]:
        """The documented JSON."""
        return {
            "track": self.track,
            "verdict": self.verdict.value if self.verdict else None,
            "reason": self.reason,
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
    """Milliseconds; since windows are decoded while others are asked about, `total` may be less than both."""

    decode: float
    infer: float
    total: float


@dataclass(frozen=True)
class VideoVerdict:
    """The answer for one video: that for its most suspicious person. `fake_probability` is the highest among
    the `faces` (a person each) that show enough to be judged, None without one.

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
        face_px, sharpness = size_and_sharpness(frames.data, boxes[row], seen)
        size = (frames.data.shape[2], frames.data.shape[1])
        faces.append(
            FaceVerdict(
                track=len(faces),
                fake_probability=probability,
                frames_observed=len(seen),
                segments=(segment,),
                box=(x1, y1, x2, y2),
                face_px=face_px,
                sharpness=sharpness,
                sightings=(Sighting(frames.pts_seconds[seen], boxes[row][seen], size, probability),),
                portrait=portrait_of(frames.data, boxes[row], seen),
            )
        )
    return tuple(faces)


def judged_face(
    face: FaceVerdict, num_frames: int, operating_point: float, rule: EvidenceRule
) -> FaceVerdict:
    """FAKE at or above the operating point, REAL below, INCONCLUSIVE when the face lacks what the `rule` asks
    for, in a video of which `num_frames` were judged."""
    lack = rule.lack(face, num_frames)
    decided = Verdict.FAKE if face.fake_probability >= operating_point else Verdict.REAL
    return replace(face, verdict=Verdict.INCONCLUSIVE if lack else decided, reason=lack)


def verdict_from_faces(
    video: str,
    faces: Sequence[FaceVerdict],
    model: ModelInfo,
    rule: EvidenceRule,
    *,
    frames_decoded: int,
    duration_seconds: float,
    latency_ms: Latency,
    fault: str | None = None,
) -> VideoVerdict:
    """The verdict on the most suspicious face that shows enough, INCONCLUSIVE without one."""
    judged = tuple(judged_face(face, frames_decoded, model.operating_point, rule) for face in faces)
    ranked = sorted(judged, key=lambda face: (face.reason is not None, -face.fake_probability))
    decisive = ranked[0] if ranked else None
    if decisive is None or decisive.verdict is None or decisive.reason:
        verdict, probability = Verdict.INCONCLUSIVE, None
        reason = decisive.reason if decisive else "no_face"
    else:
        verdict, probability = decisive.verdict, decisive.fake_probability
        reason = "truncated" if fault else None
    return VideoVerdict(
        video=video,
        verdict=verdict,
        fake_probability=probability,
        reason=reason,
        faces=judged,
        model=model,
        frames_decoded=frames_decoded,
        duration_seconds=duration_seconds,
        latency_ms=latency_ms,
        fault=fault,
    )

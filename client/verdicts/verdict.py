"""Frozen result types: verdict, faces, segments, model; their JSON is documented in verdict.schema.json."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import Enum
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from deepfake_triton.client.verdicts.content_credentials import ContentCredentials
from deepfake_triton.client.verdicts.face_embedding import NO_VIEWS
from deepfake_triton.errors import InvalidOption
from deepfake_triton.json_object import JsonObject
from deepfake_triton.operating_point import OperatingPoint

UNCERTAIN = "uncertain"
"""Reason of a face, or a video, whose probability lies between the thresholds of the operating point."""


class Verdict(str, Enum):
    """Verdict on a video or a face."""

    FAKE = "FAKE"
    REAL = "REAL"
    INCONCLUSIVE = "INCONCLUSIVE"


@dataclass(frozen=True)
class Segment:
    """Part of a video, and the probability of FAKE there.

    Attributes:
        start_seconds: Display time of its first frame, on the video's own clock.
        end_seconds: End of the display of its last frame.
        fake_probability: Probability of FAKE, 0…1.
    """

    start_seconds: float
    end_seconds: float
    fake_probability: float


@dataclass(frozen=True)
class Sighting:
    """A face in the frames of one window that show it.

    Attributes:
        pts_seconds: Display times of those frames, [N] float64.
        boxes: Boxes of the face in them, [N, 4] float32: x1 y1 x2 y2 in px of the frames sent.
        frame_size: Width and height of the frames sent.
        fake_probability: Probability of FAKE in the window, 0…1.
    """

    pts_seconds: npt.NDArray[np.float64]
    boxes: npt.NDArray[np.float32]
    frame_size: tuple[int, int]
    fake_probability: float


@dataclass(frozen=True)
class FaceVerdict:
    """Verdict on one person.

    Attributes:
        track: Number of the person, in order of appearance.
        fake_probability: Mean over the frames that show the person, 0…1.
        frames_observed: Number of those frames.
        segments: Probability in each window that shows the person.
        box: First box: x1 y1 x2 y2 in px of the frames sent.
        face_px: Median of the longer side of the boxes in px.
        sharpness: Median variance of the Laplacian of the crops.
        verdict: None in the answer on a clip.
        reason: Why the verdict is INCONCLUSIVE, else None.
        sightings: Boxes and times in each window.
        portrait: Clearest image of the head, [96, 96, 3] uint8 RGB.
        views: Crops [N, 150, 150, 3] uint8 RGB by which faces are linked; only in the answer on a clip.
        blockiness: Mean visibility of compression blocks.
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
    views: npt.NDArray[np.uint8] = field(default_factory=lambda: NO_VIEWS, repr=False, compare=False)
    blockiness: float = 0.0

    @property
    def shows_enough(self) -> bool:
        """Whether the face could be judged; its verdict may be uncertain all the same."""
        return self.reason in (None, UNCERTAIN)

    def as_dict(self) -> JsonObject:
        """Return the documented JSON."""
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
    """The model that answered.

    Attributes:
        name: Name of the ensemble.
        version: Its version in the repository.
        weights: `default`, `custom`, or `untrained`: then a verdict means nothing.
        sha256: SHA-256 of the export.
        operating_point: Threshold for FAKE in use, one of `operating_points`.
        operating_points: The server's thresholds for FAKE by name.
        operating_point_name: Name of the one in use.
        real_at_most: Threshold for REAL in use, one of `real_borders`; by default `operating_point`.
        real_borders: The server's thresholds for REAL by name.
    """

    name: str
    version: str
    weights: str
    sha256: str
    operating_point: float
    operating_points: Mapping[str, float] = field(default_factory=dict)
    operating_point_name: str = "default"
    real_at_most: float = math.nan
    real_borders: Mapping[str, float] = field(default_factory=dict)

    DOCUMENTED: ClassVar[tuple[str, ...]] = ("name", "version", "weights", "sha256")

    def __post_init__(self) -> None:
        if math.isnan(self.real_at_most):
            object.__setattr__(self, "real_at_most", self.operating_point)

    @property
    def thresholds(self) -> OperatingPoint:
        """Operating point in use: its name and both thresholds."""
        return OperatingPoint(self.operating_point_name, self.real_at_most, self.operating_point)

    @property
    def borders(self) -> OperatingPoint:
        """Former name of `thresholds`."""
        return self.thresholds

    def at(self, name: str) -> ModelInfo:
        """Return the model with another of its operating points in use. Raises InvalidOption."""
        if name not in self.operating_points:
            known = ", ".join(sorted(self.operating_points)) or "none"
            raise InvalidOption(f"operating point {name!r}: the model has {known}; choose one of these")
        fake_at_least = self.operating_points[name]
        return replace(
            self,
            operating_point=fake_at_least,
            operating_point_name=name,
            real_at_most=self.real_borders.get(name, fake_at_least),
        )

    def as_dict(self) -> JsonObject:
        """Return the documented JSON."""
        return {key: getattr(self, key) for key in self.DOCUMENTED}


@dataclass(frozen=True)
class Latency:
    """Time taken by one video, in milliseconds.

    Attributes:
        decode: Decoding.
        infer: Requests, retries included.
        total: Wall time; less than the sum where windows are decoded while others are on their way.
    """

    decode: float
    infer: float
    total: float


@dataclass(frozen=True)
class VideoVerdict:
    """Verdict on one video: the one on its most suspicious person.

    Attributes:
        video: Path of the video, or `(frames)`.
        verdict: FAKE, REAL or INCONCLUSIVE.
        fake_probability: Highest among the `faces` that show enough to be judged, None without one.
        reason: Why the verdict is INCONCLUSIVE: `uncertain` (the probability lies between the thresholds of
            the operating point), `no_face`, or why the most suspicious face was rejected: `too_few_frames`,
            `face_too_small`, `low_quality`. `truncated`: a verdict on a part of the file. Else None.
        faces: One for each person.
        model: The model that answered.
        frames_decoded: Number of frames that were judged.
        duration_seconds: Duration of the whole video.
        latency_ms: Time taken.
        fault: What is wrong with a cut or damaged file.
        faces_left_out: Most faces of one window that were not judged at all: beyond the limit of faces, or
            in too few frames to be tracked.
        content_credentials: Content Credentials of the file, beside the verdict; None where they were not
            read, as by the client itself.
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
    faces_left_out: int = 0
    content_credentials: ContentCredentials | None = None

    def as_dict(self) -> JsonObject:
        """Return the documented JSON."""
        return {
            "video": self.video,
            "verdict": self.verdict.value,
            "fake_probability": self.fake_probability,
            "reason": self.reason,
            "faces": [face.as_dict() for face in self.faces],
            "faces_left_out": self.faces_left_out,
            "model": self.model.as_dict(),
            "operating_point": self.model.thresholds.as_dict(),
            "frames_decoded": self.frames_decoded,
            "duration_seconds": self.duration_seconds,
            "latency_ms": asdict(self.latency_ms),
            "content_credentials": _as_dict(self.content_credentials),
            "error": None,
        }


@dataclass(frozen=True)
class VideoFailure:
    """A video that could not be processed, and why; `model` is the one that answered last, if one did."""

    video: str
    error_type: str
    message: str
    model: ModelInfo | None = None
    content_credentials: ContentCredentials | None = None

    def as_dict(self) -> JsonObject:
        """Return the documented JSON, with the keys of a verdict."""
        return {
            "video": self.video,
            "verdict": None,
            "fake_probability": None,
            "reason": None,
            "faces": [],
            "faces_left_out": None,
            "model": self.model.as_dict() if self.model else dict.fromkeys(ModelInfo.DOCUMENTED),
            "operating_point": self.model.thresholds.as_dict() if self.model else None,
            "frames_decoded": 0,
            "duration_seconds": None,
            "latency_ms": None,
            "content_credentials": _as_dict(self.content_credentials),
            "error": {"type": self.error_type, "message": self.message},
        }


def _as_dict(credentials: ContentCredentials | None) -> JsonObject | None:
    return credentials.as_dict() if credentials else None

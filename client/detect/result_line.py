"""A line of results, and whether the verdict of an earlier run would come out the same today."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from deepfake_triton.client.rendering.formatting import verdict_headline
from deepfake_triton.client.verdicts.quality_gate import EvidenceRule
from deepfake_triton.client.verdicts.verdict import ModelInfo
from deepfake_triton.console.terminal import printable
from deepfake_triton.json_object import JsonObject
from deepfake_triton.operating_point import OperatingPoint
from deepfake_triton.preprocessing.video.sampling import FrameSelection

_KEYS = {"video", "verdict", "fake_probability", "reason", "faces", "model", "error"}
"""Keys of every line that any release wrote."""


@dataclass(frozen=True)
class InputStamp:
    """Size and time of modification of a video file, by which a change is noticed."""

    size_bytes: int
    modified_ns: int

    @classmethod
    def of(cls, path: str) -> InputStamp | None:
        """Return the stamp of a file; None where there is none."""
        try:
            status = Path(path).stat()
        except (OSError, ValueError):
            return None
        return cls(status.st_size, status.st_mtime_ns)


@dataclass(frozen=True)
class DetectionOptions:
    """Options on which a line depends; `jpeg_quality` None: frames are sent without loss; `c2pa_trust`:
    SHA-256 of the trusted authorities' PEM."""

    selection: FrameSelection
    evidence: EvidenceRule
    jpeg_quality: int | None
    c2pa_trust: str | None = None

    def to_json(self) -> JsonObject:
        """Return them as lines of results files hold them."""
        return {
            "frames": self.selection.num_frames,
            "sampling": self.selection.sampling.value,
            "windows": self.selection.windows,
            "every_seconds": self.selection.every_seconds,
            **asdict(self.evidence),
            "jpeg_quality": self.jpeg_quality,
            **({"c2pa_trust": self.c2pa_trust} if self.c2pa_trust else {}),
        }


@dataclass(frozen=True)
class RunConditions:
    """What a verdict depends on beside the model: the file (None: there is none), and the options."""

    input: InputStamp | None
    options: DetectionOptions

    def to_json(self) -> JsonObject:
        """Return the keys that a line of a results file has more than one on stdout."""
        return {"input": asdict(self.input) if self.input else None, "options": self.options.to_json()}


@dataclass(frozen=True)
class ResultLine:
    """A verdict or a failure as JSON: the documented keys, and in a results file those of `RunConditions` and
    `drawn`, the plots and overlays. Releases before some of them wrote fewer."""

    document: Mapping[str, Any]

    @classmethod
    def from_json(cls, document: object) -> ResultLine:
        """Check the keys that every release wrote, and the types of those that are read again. Raises
        ValueError."""
        if not isinstance(document, dict) or not document.keys() >= _KEYS:
            raise ValueError(f"expected an object with the keys {', '.join(sorted(_KEYS))}")
        line = cls(document)
        if not isinstance(document["video"], str):
            raise ValueError("video: expected text")
        if line.is_failure:
            return line
        probability, reason = document["fake_probability"], document["reason"]
        if not isinstance(document["verdict"], str) or not (reason is None or isinstance(reason, str)):
            raise ValueError("verdict, reason: expected text")
        if not (probability is None or (isinstance(probability, int | float) and 0 <= probability <= 1)):
            raise ValueError("fake_probability: expected a number in 0…1, or null")
        return line

    @property
    def video(self) -> str:
        """Path of the video as given."""
        return str(self.document["video"])

    @property
    def is_failure(self) -> bool:
        """Whether the video could not be processed."""
        return bool(self.document["error"])

    @property
    def verdict(self) -> str:
        """Verdict on the video."""
        return str(self.document["verdict"])

    @property
    def reason(self) -> str | None:
        """Reason of the verdict, see VideoVerdict."""
        reason: str | None = self.document["reason"]
        return reason

    @property
    def fake_probability(self) -> float | None:
        """Probability of FAKE, see VideoVerdict."""
        probability: float | None = self.document["fake_probability"]
        return probability

    @property
    def operating_point(self) -> OperatingPoint | None:
        """Thresholds of the verdict; None in lines of older releases."""
        point = self.document.get("operating_point")
        return OperatingPoint(point["name"], point["real_at_most"], point["fake_at_least"]) if point else None

    @property
    def drawn(self) -> tuple[object, ...]:
        """Paths of the plots and overlays that were written."""
        drawn = self.document.get("drawn")
        return tuple(drawn) if isinstance(drawn, list) else ()

    def text(self) -> str:
        """Format a verdict of an earlier run as one line."""
        headline = verdict_headline(
            self.verdict, self.reason, probability=self.fake_probability, thresholds=self.operating_point
        )
        return f"{printable(self.video)}: {headline} (judged before)"

    def matches_conditions(self, conditions: RunConditions) -> bool:
        """Whether the verdict is on the same file under the same options; older releases did not say."""
        now = conditions.to_json()
        return now["input"] is not None and all(self.document.get(key) == now[key] for key in now)

    def matches_model(self, model: ModelInfo) -> bool:
        """Whether the verdict is by the weights and the thresholds of that model."""
        recorded = self.document["model"] if isinstance(self.document["model"], Mapping) else {}
        point = self.document.get("operating_point")
        return recorded.get("sha256") == model.sha256 and point == model.thresholds.as_dict()

"""The sections of an export's report, and how each is read and written as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any, TypeVar

from deepfake_triton.json_object import JsonObject
from deepfake_triton.repository.engine_record import EngineRecord

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    Section = TypeVar("Section", bound=DataclassInstance)

UNKNOWN = "unknown"
"""Value of a field that the release which wrote the report did not write."""


@dataclass(frozen=True)
class CheckpointReport:
    """The checkpoint of an export; `weights` is default, untrained or custom, `metadata` the fields of its
    `ModelMetadata` (`facts` in JSON)."""

    source: str = UNKNOWN
    sha256: str = ""
    layout: str = UNKNOWN
    weights: str = UNKNOWN
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> JsonObject:
        """Return the section as JSON values."""
        values = asdict(self)
        values["facts"] = values.pop("metadata")
        return values

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> CheckpointReport:
        """Read the section."""
        metadata = values.get("facts", {})
        plain = {name: tuple(value) if isinstance(value, list) else value for name, value in metadata.items()}
        return section_from_json(cls, values, metadata=plain)


@dataclass(frozen=True)
class DetectorReport:
    """The face detector of an export, the long side in px at which it searches, and every how many frames."""

    name: str = UNKNOWN
    size: int = 0
    interval: int = 1


@dataclass(frozen=True)
class CalibrationReport:
    """The faces that INT8 was calibrated on: `bundled` with the package, or found in the files that were
    named, of which `unused` show none or cannot be decoded."""

    bundled: bool
    faces: int
    unused: int = 0


@dataclass(frozen=True)
class QuantizationReport:
    """The INT8 quantization of one graph: the blocks that stayed FP32, and how much the whole graph differs,
    with its limit. `sensitivity` is how much each block alone changes the answer, the most sensitive first;
    it is empty where all blocks together keep the limit, which is then all that is measured.
    """

    sensitivity: Mapping[str, float]
    kept_in_fp32: tuple[str, ...]
    difference: float
    limit: float


@dataclass(frozen=True)
class ModelReport:
    """The graph of one model: what it computes in, what can run it, and the SHA-256 of each of its files.

    `quantization` (`quantisation` in JSON) is of an INT8 graph, `median_ms` has the latency of the candidates
    among which it was chosen, `engines` the build records of its TensorRT engines.
    """

    precision: str
    runs_on: tuple[str, ...]
    files: Mapping[str, str]
    quantization: QuantizationReport | None = None
    median_ms: Mapping[str, float] | None = None
    engines: tuple[EngineRecord, ...] = ()

    def to_json(self) -> JsonObject:
        """Return the section as JSON values, without keys that do not apply."""
        values: dict[str, Any] = {
            "precision": self.precision,
            "runs_on": list(self.runs_on),
            "files": dict(self.files),
        }
        if self.quantization:
            values["quantisation"] = asdict(self.quantization)
        if self.median_ms is not None:
            values["median_ms"] = dict(self.median_ms)
        if self.engines:
            values["engines"] = [record.to_json() for record in self.engines]
        return values

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> ModelReport:
        """Read the section."""
        return section_from_json(
            cls,
            values,
            runs_on=tuple(values["runs_on"]),
            files={name: str(digest) for name, digest in values["files"].items()},
            quantization=_quantization(values.get("quantisation")),
            engines=tuple(EngineRecord.from_json(record) for record in values.get("engines", ())),
        )


@dataclass(frozen=True)
class OnnxReport:
    """The version of ONNX that the graphs are written in, and their SHA-256 by model."""

    opset: int = 0
    ir_version: int = 0
    sha256: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ParityCase:
    """The largest differences from torch at one batch size and clip length, and the crop with which the clip
    begins whose probability differs most."""

    batch: int
    frames: int
    max_logit_difference: float
    max_probability_difference: float
    worst_crop: int = 0


@dataclass(frozen=True)
class ParityLimits:
    """The limits that the differences of a parity check had to keep; a `logit` of None was not checked."""

    logit: float | None = None
    probability: float = 0.0
    detection: float = 0.0
    detector_batch_px: float = 0.0
    batch_probability: float = 0.0


@dataclass(frozen=True)
class ParityReport:
    """The parity check of an export against torch, on the crops that `crops` describes.

    Detections differ most in the frame `worst_frame`; `batch_probability_difference` and
    `detector_batch_difference_px` compare the same engine batched and one by one. `runtimes` names what ran
    each graph.
    """

    precision: str = UNKNOWN
    crops: str = UNKNOWN
    num_crops: int = 0
    logit_spread: float = 0.0
    cases: tuple[ParityCase, ...] = ()
    detection_difference: float = 0.0
    detector_batch_difference_px: float = 0.0
    batch_probability_difference: float = 0.0
    worst_frame: int = 0
    limits: ParityLimits = ParityLimits()
    runtimes: Mapping[str, str] = field(default_factory=dict)

    @property
    def max_probability_difference(self) -> float:
        """The largest difference in the probability of FAKE over all cases."""
        return max(case.max_probability_difference for case in self.cases)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> ParityReport:
        """Read the section."""
        cases = tuple(section_from_json(ParityCase, case) for case in values.get("cases", ()))
        limits = section_from_json(ParityLimits, values.get("limits", {}))
        return section_from_json(cls, values, cases=cases, limits=limits)


@dataclass(frozen=True)
class CandidateReport:
    """One of the precisions and accelerators that `--precision auto` tried: the time of its three networks
    for one clip, and why it was `refused`."""

    precision: str
    accelerator: str | None
    clip_ms: float
    refused: str | None = None


@dataclass(frozen=True)
class GateReport:
    """The accuracy gate on labeled clips (`unused` more show no face, or cannot be read): areas under the ROC
    curve, the share of verdicts `flipped` at `threshold`, and the clip whose probability changed most."""

    manifest: str
    clips: int
    unused: int
    threshold: float
    reference_auc: float
    auc: float
    flipped: float
    mean_difference: float
    worst_clip: str
    worst_difference: float


@dataclass(frozen=True)
class QueueReport:
    """The queue of the first step: `max_queue` clips may wait there (`max_queue_size` in JSON, as in Triton's
    config); `clip_ms` is the measured time of one clip, None where the engines' GPU is not at hand."""

    max_queue: int
    clip_ms: float | None = None

    def to_json(self) -> JsonObject:
        """Return the section as JSON values."""
        return {"clip_ms": self.clip_ms, "max_queue_size": self.max_queue}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> QueueReport:
        """Read the section."""
        return cls(values["max_queue_size"], values.get("clip_ms"))


def section_from_json(kind: type[Section], values: Mapping[str, Any], **converted: Any) -> Section:
    """Build a section from the keys that it knows, with those of other types `converted`."""
    known = {entry.name for entry in fields(kind)}
    return kind(**{**{name: value for name, value in values.items() if name in known}, **converted})


def _quantization(values: Mapping[str, Any] | None) -> QuantizationReport | None:
    if values is None:
        return None
    return section_from_json(QuantizationReport, values, kept_in_fp32=tuple(values["kept_in_fp32"]))

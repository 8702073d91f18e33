"""The options of an export, composed so that options which exclude each other cannot be given together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, TypeAlias, get_args

from deepfake_triton.contracts import DEFAULT_DETECTOR_SIZE, MAX_FRAMES, BuilderName
from deepfake_triton.errors import ExportError
from deepfake_triton.models.metadata_overrides import NO_OVERRIDES, MetadataOverrides
from deepfake_triton.models.runtimes.tensorrt_library import TensorRT, load_tensorrt

if TYPE_CHECKING:
    from deepfake_triton.models.checkpoints.checkpoint import LSTMBias
    from deepfake_triton.models.runtimes.onnx_runner import Provider

PrecisionName = Literal["fp32", "bf16", "fp16", "int8"]
PRECISIONS: tuple[PrecisionName, ...] = get_args(PrecisionName)
DeviceName = Literal["cpu", "gpu"]
DEVICES: tuple[DeviceName, ...] = get_args(DeviceName)
EngineName = Literal["onnx", "tensorrt"]
ENGINES: tuple[EngineName, ...] = get_args(EngineName)
DEFAULT_CALIBRATION_SAMPLES = 256


@dataclass(frozen=True)
class DefaultWeights:
    """The checkpoint that ships with the project; with overrides its weights count as custom."""

    metadata_overrides: MetadataOverrides = NO_OVERRIDES


@dataclass(frozen=True)
class CheckpointWeights:
    """A checkpoint file (*.pt, *.pth, *.safetensors), and what to do with the biases of its LSTM."""

    path: Path
    lstm_bias: LSTMBias = "auto"
    metadata_overrides: MetadataOverrides = NO_OVERRIDES


@dataclass(frozen=True)
class UntrainedWeights:
    """Random weights, the same on every machine: their verdicts mean nothing."""

    metadata_overrides: MetadataOverrides = NO_OVERRIDES


Weights: TypeAlias = DefaultWeights | CheckpointWeights | UntrainedWeights


@dataclass(frozen=True)
class DetectorOptions:
    """The face detector, as `NAME` or `NAME:PATH`, the long side in px at which it searches, and which frames
    of a clip it gets: every `interval`th. Raises ExportError for an interval that no clip has."""

    name: str = "centerface"
    size: int = DEFAULT_DETECTOR_SIZE
    interval: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.interval <= MAX_FRAMES:
            raise ExportError(f"--detection-interval: got {self.interval}, expected 1…{MAX_FRAMES}")


@dataclass(frozen=True)
class Fp32:
    """All networks in single precision."""

    name: ClassVar[PrecisionName] = "fp32"


@dataclass(frozen=True)
class Bf16:
    """The FP32 graphs, of which OpenVINO computes the extractor in bfloat16; for CPUs that have it."""

    name: ClassVar[PrecisionName] = "bf16"


@dataclass(frozen=True)
class Fp16:
    """Half precision for all but LSTMs, pre- and postprocessing; for GPUs."""

    name: ClassVar[PrecisionName] = "fp16"


@dataclass(frozen=True)
class Int8:
    """Post-training quantization, calibrated on at most `samples` faces of the `calibration` videos, photos
    or folders, chosen by `seed`; without any, on the portraits that come with the package."""

    name: ClassVar[PrecisionName] = "int8"
    calibration: Sequence[Path] = ()
    samples: int = DEFAULT_CALIBRATION_SAMPLES
    seed: int = 0


Precision: TypeAlias = Fp32 | Bf16 | Fp16 | Int8


@dataclass(frozen=True)
class OnnxRuntimeEngine:
    """ONNX Runtime, on a CPU by its own kernels or by `openvino`."""

    name: ClassVar[EngineName] = "onnx"
    backend: ClassVar[str] = "onnxruntime"
    openvino: bool = False

    @property
    def provider(self) -> Provider:
        """ONNX Runtime execution provider for the parity check and for CPU serving."""
        return "openvino" if self.openvino else "cpu"

    @property
    def accelerator(self) -> str | None:
        """The accelerator that Triton's config asks for on CPUs."""
        return "openvino" if self.openvino else None


@dataclass(frozen=True)
class TensorRTEngine:
    """TensorRT engines for the `compute_capabilities`, such as 8.9; none means the local GPU.

    `timing_cache` is a file that keeps TensorRT's kernel timings between builds.
    """

    name: ClassVar[EngineName] = "tensorrt"
    backend: ClassVar[str] = "tensorrt"
    accelerator: ClassVar[None] = None
    provider: ClassVar[Provider] = "cpu"
    builder: BuilderName = "tensorrt"
    compute_capabilities: Sequence[str] = ()
    timing_cache: Path | None = None

    def load_library(self) -> TensorRT:
        """Import the builder's library. Raises MissingDependency without it, EngineError for a compute
        capability that it does not build for."""
        library = load_tensorrt(self.builder)
        for capability in self.compute_capabilities if library.targets else ():
            library.target(capability)
        return library


Engine: TypeAlias = OnnxRuntimeEngine | TensorRTEngine


@dataclass(frozen=True)
class ParityOptions:
    """The video whose faces are compared with torch (None: the demo's clip), and the manifest of labeled
    clips for the accuracy gate (None: no gate)."""

    video: Path | None = None
    gate: Path | None = None


@dataclass(frozen=True)
class ServingLimits:
    """The limits that the server's configs set, for a `device`: `max_queue` clips may wait for the first
    step, None: as many as a GPU answers in time, or as a measurement of this machine allows. Raises
    ExportError below 1."""

    max_queue: int | None = None
    device: DeviceName = "cpu"

    def __post_init__(self) -> None:
        if self.max_queue is not None and self.max_queue < 1:
            raise ExportError(f"--max-queue: got {self.max_queue}, expected 1 or more")


@dataclass(frozen=True)
class ExportOptions:
    """The options of one export into the model repository `output`. Raises ExportError for BF16 on anything
    but OpenVINO."""

    output: Path
    weights: Weights = field(default_factory=DefaultWeights)
    detector: DetectorOptions = field(default_factory=DetectorOptions)
    precision: Precision = field(default_factory=Fp32)
    engine: Engine = field(default_factory=OnnxRuntimeEngine)
    parity: ParityOptions = field(default_factory=ParityOptions)
    serving: ServingLimits = field(default_factory=ServingLimits)

    def __post_init__(self) -> None:
        is_openvino = isinstance(self.engine, OnnxRuntimeEngine) and self.engine.openvino
        if isinstance(self.precision, Bf16) and not is_openvino:
            raise ExportError("--precision bf16 is for --accelerator openvino")

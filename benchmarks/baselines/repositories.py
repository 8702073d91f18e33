"""The version that a model repository serves: its weights, its graphs, its form."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from deepfake_triton.contracts import OPENVINO_PRECISION, deepfake_detector
from deepfake_triton.errors import InputError, InvalidRepository
from deepfake_triton.export.repository.configs import config_from_text
from deepfake_triton.export.repository.versions import active_version
from deepfake_triton.models.checkpoints.checkpoint import Checkpoint, checkpoint_from_file
from deepfake_triton.models.default_checkpoint import DEFAULT_CHECKPOINT
from deepfake_triton.models.metadata import ModelMetadata, metadata_from_mapping
from deepfake_triton.models.metadata_overrides import MetadataOverrides
from deepfake_triton.models.runtimes.onnx_runner import OnnxRunner, Provider
from deepfake_triton.repository.export_report import REPORT_NAME, read_report
from deepfake_triton.repository.files import CONFIG_NAME, ONNX_NAME


@dataclass(frozen=True)
class ServedVersion:
    """Weights, detector and form of the version that a repository serves."""

    repository: Path
    checkpoint_sha256: str
    metadata: ModelMetadata
    detector: str
    detector_size: int
    detection_interval: int
    form: str
    """Precision and runtime, such as `FP32, OpenVINO`."""

    def has_weights_of(self, other: ServedVersion) -> bool:
        """Whether both must give the same answers, but for their precision."""
        return replace(self, repository=other.repository, form=other.form) == other


def read_served_version(repository: Path) -> ServedVersion:
    """Read the export report of the served version. Raises InputError where there is none."""
    path = repository / deepfake_detector().name / str(active_version(repository)) / REPORT_NAME
    try:
        report = read_report(path)
    except InvalidRepository as error:
        raise InputError(f"{error}; export the repository again") from error
    runtime = "TensorRT" if report.engine == "tensorrt" else "ONNX Runtime"
    if report.accelerator == "openvino":
        runtime = "OpenVINO"
    return ServedVersion(
        repository=repository,
        checkpoint_sha256=report.checkpoint.sha256,
        metadata=metadata_from_mapping(report.checkpoint.metadata),
        detector=report.detector.name,
        detector_size=report.detector.size,
        detection_interval=report.detector.interval,
        form=f"{report.precision.upper()}, {runtime}",
    )


def load_checkpoint(served: ServedVersion, path: Path | None) -> Checkpoint:
    """Load the weights that a version was exported from; by default those that ship with the project.

    Raises InputError when they are not the same.
    """
    path = path or DEFAULT_CHECKPOINT
    checkpoint = checkpoint_from_file(path, MetadataOverrides(**vars(served.metadata)))
    if checkpoint.sha256 != served.checkpoint_sha256:
        raise InputError(
            f"{path}: sha256 {checkpoint.sha256[:12]}, but {served.repository} was exported from "
            f"{served.checkpoint_sha256[:12]}: name its checkpoint with --checkpoint"
        )
    return checkpoint


def served_graph(repository: Path, model: str) -> Path:
    """Return the ONNX file of a model's served version."""
    return repository / model / str(active_version(repository)) / ONNX_NAME


def served_runner(repository: Path, model: str, provider: Provider | None = None) -> OnnxRunner:
    """Load a served graph under the runtime that serves it, or under another provider of ONNX Runtime."""
    return OnnxRunner(
        served_graph(repository, model), provider or _provider(repository / model / CONFIG_NAME)
    )


def _provider(config: Path) -> Provider:
    parsed = config_from_text(config.read_text())
    accelerators = parsed.optimization.execution_accelerators.cpu_execution_accelerator
    if "openvino" not in [accelerator.name for accelerator in accelerators]:
        return "cpu"
    return "openvino-bf16" if OPENVINO_PRECISION in parsed.parameters else "openvino"

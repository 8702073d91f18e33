"""The build, start to end: checkpoint → ONNX → parity → repository."""

from __future__ import annotations

import hashlib
import platform
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from tritonclient.grpc import model_config_pb2 as pb

from deepfake_triton import __version__, contracts
from deepfake_triton.contracts import DEFAULT_DETECTOR_SIZE
from deepfake_triton.errors import DetectorError, ExportError
from deepfake_triton.export.checkpoint import Checkpoint, LSTMBias, checkpoint_from_file
from deepfake_triton.export.configs import ensemble_config, ensemble_parameters, step_config
from deepfake_triton.export.default_checkpoint import default_checkpoint
from deepfake_triton.export.detector import (
    detector_onnx_from_centerface,
    find_centerface,
)
from deepfake_triton.export.facts import ModelFacts
from deepfake_triton.export.onnx_graphs import (
    IR_VERSION,
    OPSET,
    classifier_onnx_from_checkpoint,
    extractor_onnx_from_checkpoint,
)
from deepfake_triton.export.parity import ParityReport, check_parity
from deepfake_triton.export.parity_sample import parity_sample
from deepfake_triton.export.repository import NewVersion, next_version, publish, require_room
from deepfake_triton.export.runners import OnnxRunner, TorchRunner
from deepfake_triton.export.untrained import UNTRAINED_FACTS, untrained_checkpoint

_REPORTED_PACKAGES = ("torch", "onnx", "onnxruntime", "onnxscript", "numpy", "opencv-python-headless", "av")


@dataclass(frozen=True)
class ExportOptions:
    """What `deepfake-triton export` takes; None leaves a choice to the checkpoint or to the defaults.

    Without a `checkpoint` it is the shipped one, or random weights if `untrained`.
    """

    output: Path
    checkpoint: Path | None = None
    untrained: bool = False
    detector: str = "centerface"
    detector_size: int = DEFAULT_DETECTOR_SIZE
    parity_video: Path | None = None
    fact_overrides: Mapping[str, Any] = field(default_factory=dict)
    lstm_bias: LSTMBias = "auto"


def export(options: ExportOptions) -> dict[str, Any]:
    """Write the next version of a model repository, and return what its report says.

    Raises ExportError, or InputError for the parity video; then nothing was written.
    """
    checkpoint = _checkpoint(options)
    require_room(options.output, checkpoint.facts.crop_side)
    try:
        with tempfile.TemporaryDirectory(prefix="deepfake-triton-") as folder:
            files = _onnx_files(checkpoint, options, Path(folder))
            parity = _proven(checkpoint, files, options.parity_video)
            new = _new_version(checkpoint, files, parity, options)
            publish(new, options.output)
    except OSError as error:  # a full disk, a folder without permission
        raise ExportError(f"{options.output}: cannot be written: {error}") from error
    return dict(new.report)


def _checkpoint(options: ExportOptions) -> Checkpoint:
    if options.untrained:
        return untrained_checkpoint(UNTRAINED_FACTS.overridden(options.fact_overrides))
    if options.checkpoint is None:
        return default_checkpoint(options.fact_overrides)
    return checkpoint_from_file(options.checkpoint, options.fact_overrides, options.lstm_bias)


def _onnx_files(checkpoint: Checkpoint, options: ExportOptions, folder: Path) -> dict[str, Path]:
    kind, _, named = options.detector.partition(":")
    if kind != "centerface":
        raise DetectorError(f"--detector: got {options.detector!r}, expected centerface or centerface:PATH")
    weights = Path(named) if named else find_centerface()
    detector = detector_onnx_from_centerface(weights, folder / "detector.onnx", options.detector_size)
    extractor = extractor_onnx_from_checkpoint(checkpoint, folder / "extractor.onnx")
    classifier = classifier_onnx_from_checkpoint(checkpoint, folder / "classifier.onnx")
    return {
        contracts.face_detector().name: detector,
        contracts.feature_extractor().name: extractor,
        contracts.sequence_classifier().name: classifier,
    }


def _proven(checkpoint: Checkpoint, files: Mapping[str, Path], video: Path | None) -> ParityReport:
    detector, extractor, classifier = (OnnxRunner(path) for path in files.values())
    sample = parity_sample(video, detector, checkpoint.facts.crop_rule)
    report = check_parity(sample, TorchRunner(checkpoint), extractor, classifier, detector)
    report.require_passed()
    return report


def _new_version(
    checkpoint: Checkpoint, files: Mapping[str, Path], parity: ParityReport, options: ExportOptions
) -> NewVersion:
    version = next_version(options.output)
    hashes = {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items()}
    facts = checkpoint.facts
    identity = hashlib.sha256(repr((sorted(hashes.items()), facts.crop_rule)).encode()).hexdigest()
    report = {
        "version": version,
        "export_sha256": identity,
        "checkpoint": {
            "source": checkpoint.source,
            "sha256": checkpoint.sha256,
            "layout": checkpoint.layout,
            "weights": checkpoint.weights,
            "facts": asdict(facts),
        },
        "detector": {"name": options.detector, "size": options.detector_size},
        "onnx": {"opset": OPSET, "ir_version": IR_VERSION, "sha256": hashes},
        "parity": parity.as_dict(),
        "versions": _versions(),
    }
    return NewVersion(
        version, files, facts.crop_rule, configs(checkpoint.weights, facts, version, identity), report
    )


def configs(weights: str, facts: ModelFacts, version: int, export_sha256: str) -> dict[str, pb.ModelConfig]:
    """The config of every model, the ensemble's last."""
    parameters = ensemble_parameters(
        weights=weights,
        export_version=version,
        export_sha256=export_sha256,
        crop_side=facts.crop_side,
        temporal=facts.temporal,
        pooling=facts.pooling,
        operating_points=facts.operating_points,
    )
    *steps, ensemble = contracts.served_models(facts.crop_side)
    by_name = {spec.name: step_config(spec, [version]) for spec in steps}
    return {**by_name, ensemble.name: ensemble_config(version, facts.crop_side, parameters)}


def _versions() -> dict[str, str]:
    found = {"deepfake-triton": __version__, "python": platform.python_version()}
    for package in _REPORTED_PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found

"""The build, start to end: checkpoint → ONNX → parity → repository."""

from __future__ import annotations

import hashlib
import platform
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from tritonclient.grpc import model_config_pb2 as pb

from deepfake_triton import __version__, contracts
from deepfake_triton.contracts import DEFAULT_DETECTOR_SIZE
from deepfake_triton.cpu import adds_int8_exactly
from deepfake_triton.errors import CalibrationError, ExportError, ParityError
from deepfake_triton.export.calibration_faces import calibration_faces
from deepfake_triton.export.checkpoint import Checkpoint, LSTMBias, checkpoint_from_file
from deepfake_triton.export.configs import ensemble_config, ensemble_parameters, step_config
from deepfake_triton.export.default_checkpoint import default_checkpoint
from deepfake_triton.export.detector import detector_onnx
from deepfake_triton.export.facts import ModelFacts
from deepfake_triton.export.gate import EnginePath, check_gate
from deepfake_triton.export.onnx_graphs import (
    IR_VERSION,
    OPSET,
    classifier_onnx_from_checkpoint,
    extractor_onnx_from_checkpoint,
)
from deepfake_triton.export.parity import check_parity
from deepfake_triton.export.parity_limits import DEFAULT_CALIBRATION_SAMPLES, Engine, Precision
from deepfake_triton.export.parity_sample import parity_sample
from deepfake_triton.export.queueing import FEWEST_WAITING, MOST_WAITING, clip_time_ms, queue_bound
from deepfake_triton.export.repository import (
    NewVersion,
    next_version,
    publish,
    require_room,
    require_writable,
)
from deepfake_triton.export.runners import (
    OnnxRunner,
    Provider,
    Runner,
    TensorRTRunner,
    TorchRunner,
    load_onnxruntime,
)
from deepfake_triton.export.served_graphs import (
    Graphs,
    Served,
    ServedGraph,
    in_half_precision,
    in_int8,
    single_precision,
    with_engines,
)
from deepfake_triton.export.tensorrt_library import BuilderName, gpu_compute_capability, load_tensorrt
from deepfake_triton.export.untrained import UNTRAINED_FACTS, untrained_checkpoint
from deepfake_triton.manifest import read_manifest

_REPORTED_PACKAGES = (
    *("torch", "onnx", "onnxruntime", "onnxruntime-openvino", "onnxscript", "numpy"),
    *("opencv-python-headless", "av", "tensorrt", "tensorrt-rtx-cu13-bindings"),
)


@dataclass(frozen=True)
class ExportOptions:
    """What `deepfake-triton export` takes; None leaves a choice to the checkpoint or to the defaults.

    Without a `checkpoint` it is the shipped one, or random weights if `untrained`. `openvino` is asked for on
    CPUs. INT8 is fitted to `calibration_samples` faces of `calibration`, chosen by `seed`. `gate` is a
    manifest of labelled clips. `compute_capabilities` are the GPUs that engines are built for, and none means
    the one at hand. `max_queue` clips may wait for the first step; None: as many as a measurement says.
    """

    output: Path
    checkpoint: Path | None = None
    untrained: bool = False
    detector: str = "centerface"
    detector_size: int = DEFAULT_DETECTOR_SIZE
    parity_video: Path | None = None
    fact_overrides: Mapping[str, Any] = field(default_factory=dict)
    lstm_bias: LSTMBias = "auto"
    precision: Precision = "fp32"
    engine: Engine = "onnx"
    openvino: bool = False
    calibration: Sequence[Path] = ()
    calibration_samples: int = DEFAULT_CALIBRATION_SAMPLES
    seed: int = 0
    gate: Path | None = None
    compute_capabilities: Sequence[str] = ()
    builder: BuilderName | None = None
    timing_cache: Path | None = None
    max_queue: int | None = None

    @property
    def provider(self) -> Provider:
        """By which ONNX Runtime proves the graphs, and serves them on a CPU."""
        return "openvino" if self.openvino else "cpu"

    @property
    def backend(self) -> str:
        """Triton's, of the graphs."""
        return "tensorrt" if self.engine == "tensorrt" else "onnxruntime"


def export(options: ExportOptions) -> dict[str, Any]:
    """Write the next version of a model repository, and return what its report says.

    Raises ExportError, or InputError for the parity video; then nothing was written.
    """
    _require_consistent(options)
    require_writable(options.output)  # before minutes of work
    load_onnxruntime()  # first: half way its absence costs minutes, and Ctrl-C inside it reads as absence
    checkpoint = _checkpoint(options)
    require_room(options.output, checkpoint.facts.crop_side, options.backend)
    try:
        with tempfile.TemporaryDirectory(prefix="deepfake-triton-") as folder:
            graphs = _fp32_graphs(checkpoint, options, Path(folder))
            served = _served(graphs, checkpoint, options)
            if options.engine == "tensorrt":
                served = _compiled(served, options)
            proof = _proven(checkpoint, graphs, served, options)
            new = _new_version(checkpoint, served, proof, options)
            publish(new, options.output)
    except OSError as error:  # a full disk, a folder without permission
        raise ExportError(f"{options.output}: cannot be written: {error}") from error
    return dict(new.report)


def _require_consistent(options: ExportOptions) -> None:
    if options.max_queue is not None and options.max_queue < 1:
        raise ExportError(f"--max-queue: got {options.max_queue}, expected 1 or more")
    if options.precision == "int8" and not options.calibration:
        raise CalibrationError(
            "--precision int8 needs --calibration: videos, photos or folders of them, of the kind that the "
            "server will see; INT8 fitted to anything else is wrong in silence"
        )
    if options.calibration and options.precision != "int8":
        raise ExportError(f"--calibration is for --precision int8, got {options.precision}")
    if options.gate:
        read_manifest(options.gate)
    if options.engine == "tensorrt":
        if options.openvino:
            raise ExportError("--accelerator openvino is for --engine onnx; TensorRT runs on GPUs")
        library = load_tensorrt(options.builder or "tensorrt")
        for capability in options.compute_capabilities if library.targets else ():
            library.target(capability)
    elif options.builder or options.compute_capabilities or options.timing_cache:
        raise ExportError("--builder, --compute-capability and --timing-cache are for --engine tensorrt")


def _checkpoint(options: ExportOptions) -> Checkpoint:
    if options.untrained:
        return untrained_checkpoint(UNTRAINED_FACTS.overridden(options.fact_overrides))
    if options.checkpoint is None:
        return default_checkpoint(options.fact_overrides)
    return checkpoint_from_file(options.checkpoint, options.fact_overrides, options.lstm_bias)


def _fp32_graphs(checkpoint: Checkpoint, options: ExportOptions, folder: Path) -> Graphs:
    return Graphs(
        detector_onnx(options.detector, folder / "detector.onnx", options.detector_size),
        extractor_onnx_from_checkpoint(checkpoint, folder / "extractor.onnx"),
        classifier_onnx_from_checkpoint(checkpoint, folder / "classifier.onnx"),
    )


def _served(graphs: Graphs, checkpoint: Checkpoint, options: ExportOptions) -> Served:
    if options.precision == "fp32":
        return single_precision(graphs, options.provider)
    if options.precision == "fp16":
        return in_half_precision(graphs, options.provider)
    faces = calibration_faces(
        options.calibration,
        OnnxRunner(graphs.detector),
        checkpoint.facts.crop_rule,
        options.calibration_samples,
        options.seed,
    )
    return in_int8(graphs, checkpoint, faces, options.provider, options.engine)


def _proven(checkpoint: Checkpoint, graphs: Graphs, served: Served, options: ExportOptions) -> dict[str, Any]:
    """What the comparisons with torch said, and what a clip costs. Raises ParityError when one failed."""
    reference, plain_detector = TorchRunner(checkpoint), OnnxRunner(graphs.detector)
    detector, extractor, classifier = (_runner(each, options) for each in served)
    sample = parity_sample(options.parity_video, plain_detector, checkpoint.facts.crop_rule)
    if not sample.shows_faces and options.precision != "fp32":
        raise ParityError(
            f"--precision {options.precision} has to be proven on real faces: name a video with --parity"
        )
    report = check_parity(
        sample, options.precision, reference, extractor, classifier, detector, plain_detector
    )
    report.require_passed()
    runtimes = {"reference": reference.runtime, "extractor": extractor.runtime, "detector": detector.runtime}
    runtimes |= {"classifier": classifier.runtime}
    if options.engine == "tensorrt" and not isinstance(detector, TensorRTRunner):
        runtimes["tensorrt"] = "not run: no GPU here that the engines are for; their graphs were proven"
    proof = {"parity": {**report.as_dict(), "runtimes": runtimes}, "gate": None}
    runs_elsewhere = options.engine == "tensorrt" and not isinstance(detector, TensorRTRunner)
    side = checkpoint.facts.crop_side
    clip_ms = None if runs_elsewhere else clip_time_ms(detector, extractor, classifier, side)
    waiting = options.max_queue or (MOST_WAITING if clip_ms is None else queue_bound(clip_ms))
    proof["queue"] = {"clip_ms": clip_ms and round(clip_ms, 1), "max_queue_size": waiting}
    if options.gate is None:
        return proof
    gate = check_gate(
        options.gate,
        checkpoint.facts,
        EnginePath(plain_detector, reference),
        EnginePath(detector, extractor, classifier),
    )
    gate.require_passed(options.precision)
    return {**proof, "gate": gate.as_dict()}


def _runner(graph: ServedGraph, options: ExportOptions) -> Runner:
    """The engine where its GPU is, else the ONNX file that it was compiled from."""
    engine = graph.engines.get(gpu_compute_capability() or "")
    return (
        TensorRTRunner(engine, load_tensorrt(options.builder or "tensorrt"))
        if engine
        else OnnxRunner(graph.onnx, graph.provider)
    )


def _compiled(served: Served, options: ExportOptions) -> Served:
    library = load_tensorrt(options.builder or "tensorrt")
    detector, extractor, classifier = (
        with_engines(graph, library, options.compute_capabilities or (None,), options.timing_cache)
        for graph in served
    )
    return detector, extractor, classifier


def _new_version(
    checkpoint: Checkpoint, served: Served, proof: Mapping[str, Any], options: ExportOptions
) -> NewVersion:
    version = next_version(options.output)
    models = contracts.face_detector(), contracts.feature_extractor(), contracts.sequence_classifier()
    graphs = {spec.name: graph for spec, graph in zip(models, served, strict=True)}
    files = {name: graph.as_dict() for name, graph in graphs.items()}
    facts = checkpoint.facts
    hashes = sorted((name, sorted(each["files"].items())) for name, each in files.items())
    identity = hashlib.sha256(repr((hashes, facts.crop_rule)).encode()).hexdigest()
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
        "engine": options.engine,
        "precision": options.precision,
        "accelerator": "openvino" if options.openvino else None,
        "weight_bits": _weight_bits(options.precision),
        "models": files,
        "onnx": {
            "opset": OPSET,
            "ir_version": IR_VERSION,
            "sha256": {name: _sha256(graph.onnx) for name, graph in graphs.items()},
        },
        **proof,
        "versions": _versions(),
    }
    return NewVersion(
        version,
        {name: graph.files for name, graph in graphs.items()},
        facts.crop_rule,
        configs(
            checkpoint.weights,
            facts,
            version,
            identity,
            options.backend,
            graphs,
            proof["queue"]["max_queue_size"],
        ),
        report,
    )


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def configs(
    weights: str,
    facts: ModelFacts,
    version: int,
    export_sha256: str,
    backend: str = "onnxruntime",
    graphs: Mapping[str, ServedGraph] | None = None,
    max_queue: int = FEWEST_WAITING,
) -> dict[str, pb.ModelConfig]:
    """The config of every model, the ensembles' last; without `graphs`, of plain ONNX files."""
    parameters = ensemble_parameters(
        weights=weights,
        export_version=version,
        export_sha256=export_sha256,
        crop_side=facts.crop_side,
        temporal=facts.temporal,
        pooling=facts.pooling,
        operating_points=facts.operating_points,
    )
    by_name = {}
    for spec in contracts.served_models(facts.crop_side, backend):
        if spec.backend == "ensemble":
            by_name[spec.name] = ensemble_config(spec, version, facts.crop_side, parameters)
            continue
        graph = (graphs or {}).get(spec.name)
        by_name[spec.name] = step_config(
            spec,
            [version],
            openvino=graph is not None and graph.provider == "openvino",
            mixes_batch=graph is not None and graph.mixes_batch,
            engine_files=graph.engine_files if graph else {},
            max_queue=max_queue,
        )
    return by_name


def _weight_bits(precision: Precision) -> int:
    if precision == "int8":
        return 8 if adds_int8_exactly() else 7
    return 16 if precision == "fp16" else 32


def _versions() -> dict[str, str]:
    found = {"deepfake-triton": __version__, "python": platform.python_version()}
    for package in _REPORTED_PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found

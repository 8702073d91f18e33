"""Triton's `config.pbtxt` for every model, built and checked as protobuf messages."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

from deepfake_triton import contracts
from deepfake_triton.contracts import ModelSpec, TensorSpec
from deepfake_triton.export.options import DeviceName
from deepfake_triton.export.repository.queue_sizing import MIN_QUEUE
from deepfake_triton.models.metadata import ModelMetadata

if TYPE_CHECKING:
    from deepfake_triton.export.served_graph import ServedGraph
    from deepfake_triton.models.runtimes.onnx_runner import Provider

INSTANCES: Mapping[DeviceName, Mapping[str, int]] = {
    "cpu": {
        contracts.frame_sampler().name: 2,
        contracts.face_tracker().name: 2,
        contracts.probability_mask().name: 2,
    },
    "gpu": {
        contracts.frame_decoder().name: 4,
        contracts.frame_sampler().name: 4,
        contracts.face_detector().name: 2,
        contracts.face_tracker().name: 8,
        contracts.feature_extractor().name: 2,
        contracts.probability_mask().name: 2,
    },
}
"""Instances by device; one for all others. With one of a Python step, Triton's batcher lets some requests
wait 0.5 s. On a GPU, one instance of a network copies while the other computes, and what limits it is the
tracker on its cores."""
QUEUE_TIMEOUT_US = 20_000_000
LATER_QUEUE, LATER_QUEUE_TIMEOUT_US = 1024, 120_000_000
"""More than the first step ever lets in, so that no clip is refused once it was accepted."""
LATER_QUEUES = {contracts.face_tracker().name: 2 * contracts.MAX_FRAMES}
"""Two full batches of the detector: a clip takes milliseconds there, so more wait for hostile ones alone."""
FIRST_STEPS = (
    contracts.frame_decoder().name,
    contracts.frame_sampler().name,
    contracts.face_detector().name,
)
RUN_ROWS, RUN_ELEMENTS = 8, 2**23
"""The detector's largest run: a frame of 1920 × 1080, or eight small ones, about 200 MB."""
RUN_CROPS = contracts.MAX_FRAMES
"""Crops in the extractor's largest run."""
GRAPH_PRIORITY = contracts.feature_extractor().max_batch_size
"""Rate-limiter priority: a higher number runs less often, as the model with the fewest executions times its
priority comes next. One execution of a network answers up to so many requests, each of which is one execution
of a Python step, and Python steps have to come first: all requests wait behind the next, also while a network
waits to compute (8 callers: 0.4 s for the tracker)."""
FIRST_STEP_PRIORITY = 1000 * GRAPH_PRIORITY
"""Clips in flight are finished before new ones are accepted."""
_NAMES_INSIDE = {
    (contracts.sequence_classifier().name, contracts.FAKE_PROBABILITY.name): (
        contracts.CLASSIFIER_PROBABILITY.name
    )
}
"""Names inside the ensemble, by step and output, of outputs that a later step rewrites."""
_COPYING = {"intra_op_thread_count": "1", "enable_mem_arena": "0"}
"""Parameters of a graph that copies alone: threads would not speed it up, and kept memory would only wait."""
_KINDS = {"python": pb.ModelInstanceGroup.KIND_CPU, "tensorrt": pb.ModelInstanceGroup.KIND_GPU}
_DTYPES = {
    "UINT8": pb.TYPE_UINT8,
    "FP32": pb.TYPE_FP32,
    "INT32": pb.TYPE_INT32,
    "BOOL": pb.TYPE_BOOL,
    "BYTES": pb.TYPE_STRING,
}


def model_configs(
    metadata: ModelMetadata,
    version: int,
    *,
    weights: str,
    export_sha256: str,
    backend: str = "onnxruntime",
    graphs: Mapping[str, ServedGraph] | None = None,
    max_queue: int = MIN_QUEUE,
    device: DeviceName = "cpu",
    detection_interval: int = 1,
) -> dict[str, pb.ModelConfig]:
    """Return the config of every model by name, the ensembles' last; without `graphs`, those of plain ONNX
    files. The detector gets every `detection_interval`th frame."""
    parameters = ensemble_parameters(metadata, version, weights=weights, export_sha256=export_sha256)
    if detection_interval > 1:
        parameters["detection_interval"] = str(detection_interval)
    configs = {}
    for spec in contracts.served_models(metadata.crop_side, backend, samples_frames=detection_interval > 1):
        if spec.backend == "ensemble":
            configs[spec.name] = ensemble_config(
                spec,
                version,
                crop_side=metadata.crop_side,
                parameters=parameters,
                samples_frames=detection_interval > 1,
            )
            continue
        graph = (graphs or {}).get(spec.name)
        configs[spec.name] = step_config(
            spec,
            [version],
            provider=graph.provider if graph else "cpu",
            mixes_batch=graph is not None and graph.mixes_batch,
            engine_files=graph.engine_files if graph else {},
            max_queue=max_queue,
            device=device,
        )
    return configs


def step_config(
    spec: ModelSpec,
    versions: Sequence[int],
    *,
    provider: Provider = "cpu",
    mixes_batch: bool = False,
    engine_files: Mapping[str, str] | None = None,
    max_queue: int = MIN_QUEUE,
    device: DeviceName = "cpu",
) -> pb.ModelConfig:
    """Return the config of a composing model, of which Triton loads exactly `versions`.

    `provider` is ONNX Runtime's on CPUs. Requests for a graph that
    `mixes_batch` are not batched. `engine_files` names TensorRT's files by compute capability. `max_queue`
    clips may wait for the first step (detector or decoder); later steps accept whatever it let in. Instances
    are counted for `device`.
    """
    is_first = spec.name in FIRST_STEPS
    served = _without_batching(spec) if mixes_batch else spec
    config = _config(served, versions)
    # Also where there is no batch dimension: Triton's other scheduler has no bounds.
    policy = config.dynamic_batching.default_queue_policy
    policy.timeout_action = pb.ModelQueuePolicy.REJECT
    policy.default_timeout_microseconds = QUEUE_TIMEOUT_US if is_first else LATER_QUEUE_TIMEOUT_US
    policy.allow_timeout_override = True  # a caller's own, where it is shorter
    policy.max_queue_size = max_queue if is_first else LATER_QUEUES.get(spec.name, LATER_QUEUE)
    if spec.backend == "onnxruntime":
        for key, value in _memory_bounds(spec, mixes_batch).items():
            config.parameters[key].string_value = str(value)
    copies_alone = spec == contracts.frame_sampler()
    for key, text in _COPYING.items() if copies_alone else ():
        config.parameters[key].string_value = text
    group = config.instance_group.add(
        # What a GPU has no use for is not copied there.
        kind=_KINDS.get("python" if copies_alone else spec.backend, pb.ModelInstanceGroup.KIND_AUTO),
        count=INSTANCES[device].get(spec.name, 1),
    )
    if spec.max_batch_size:
        group.rate_limiter.resources.add(name=contracts.COMPUTE_RESOURCE, count=1, **{"global": True})
        group.rate_limiter.priority = FIRST_STEP_PRIORITY if is_first else GRAPH_PRIORITY
    if provider == "openvino-bf16":
        config.parameters[contracts.OPENVINO_PRECISION].string_value = "bf16"
    if provider != "cpu":
        config.optimization.execution_accelerators.cpu_execution_accelerator.add(name="openvino")
    for capability, name in (engine_files or {}).items():
        config.cc_model_filenames[capability] = name
    if spec == contracts.frame_decoder():  # zeros are no JPEG
        return config
    warmup = config.model_warmup.add(name="zeros", batch_size=1)
    for tensor in served.inputs:
        warmup.inputs[tensor.name].CopyFrom(
            pb.ModelWarmup.Input(
                data_type=_DTYPES[tensor.triton_dtype], dims=_warmup_dims(tensor), zero_data=True
            )
        )
    return config


def ensemble_config(
    ensemble: ModelSpec,
    version: int,
    *,
    crop_side: int,
    parameters: Mapping[str, str],
    samples_frames: bool = False,
) -> pb.ModelConfig:
    """Return the config of an ensemble of the steps from its inputs to its outputs, each pinned to `version`,
    so that no answer mixes two exports. `samples_frames`: whether the detector gets some frames only."""
    config = _config(ensemble, [version])
    specs = contracts.served_models(crop_side, samples_frames=samples_frames)
    steps = [spec for spec in specs if spec.backend != "ensemble"]
    if ensemble.inputs != contracts.deepfake_detector_jpeg().inputs:
        steps.remove(contracts.frame_decoder())
    used = {tensor.name for spec in steps for tensor in spec.inputs} | {
        tensor.name for tensor in (*ensemble.outputs, contracts.SAMPLED_FRAMES)
    }
    for spec in steps:
        step = config.ensemble_scheduling.step.add(model_name=spec.name, model_version=version)
        for tensor in spec.inputs:
            is_sampled = samples_frames and spec == contracts.face_detector()
            step.input_map[tensor.name] = contracts.SAMPLED_FRAMES.name if is_sampled else tensor.name
        for tensor in spec.outputs:
            inside = _NAMES_INSIDE.get((spec.name, tensor.name), tensor.name)
            if inside in used:
                step.output_map[tensor.name] = inside
    for key, value in parameters.items():
        config.parameters[key].string_value = value
    return config


def _without_batching(spec: ModelSpec) -> ModelSpec:
    """Return the same tensors on the wire, of a model whose requests Triton does not batch."""
    stacked = [tuple(tensor.stacked() for tensor in tensors) for tensors in (spec.inputs, spec.outputs)]
    return replace(spec, inputs=stacked[0], outputs=stacked[1], max_batch_size=0)


def _memory_bounds(spec: ModelSpec, mixes_batch: bool) -> dict[str, int]:
    """Return the most that one request and one run of a network may hold, as parameters that NVIDIA's C++
    backend ignores."""
    (tensor,) = spec.inputs
    if spec in {contracts.face_detector(), contracts.frame_sampler()}:  # one row is a frame
        channels = tensor.shape[-1] or 1
        request = {
            "max_request_elements": contracts.MAX_CLIP_PIXELS * channels,
            "max_row_elements": contracts.MAX_SERVED_FRAME_SIDE**2 * channels,
        }
        run = {"max_run_elements": RUN_ELEMENTS, "max_run_rows": RUN_ROWS}
        return {**request, **run} if spec.max_batch_size else request
    frame_elements = math.prod(size for size in tensor.shape if size is not None)
    bounds = {"max_request_elements": spec.max_batch_size * contracts.MAX_FRAMES * frame_elements}
    if not mixes_batch:  # one row is a track
        bounds["max_row_elements"] = contracts.MAX_FRAMES * frame_elements
    if spec.name == contracts.feature_extractor().name:
        bounds["max_run_elements"] = RUN_CROPS * frame_elements
    return bounds


def ensemble_parameters(
    metadata: ModelMetadata, version: int, *, weights: str, export_sha256: str
) -> dict[str, str]:
    """Return what a client reads of the model that answers it; thresholds of operating points as JSON."""
    return {
        "weights": weights,
        "export_version": str(version),
        "export_sha256": export_sha256,
        "crop_side": str(metadata.crop_side),
        "temporal": metadata.temporal,
        "pooling": metadata.pooling,
        "operating_points": json.dumps(dict(metadata.operating_points), sort_keys=True),
        "real_at_most": json.dumps(dict(metadata.real_at_most), sort_keys=True),
    }


def config_text(config: pb.ModelConfig) -> str:
    """Return the text that Triton reads."""
    text: str = text_format.MessageToString(config)
    return text


def config_from_text(text: str) -> pb.ModelConfig:
    """Parse the text of a `config.pbtxt`. Raises text_format.ParseError."""
    return text_format.Parse(text, pb.ModelConfig())


def loaded_versions(config: pb.ModelConfig) -> list[int]:
    """Return the versions that a config of ours names."""
    return list(config.version_policy.specific.versions)


def _config(spec: ModelSpec, versions: Sequence[int]) -> pb.ModelConfig:
    config = pb.ModelConfig(name=spec.name, max_batch_size=spec.max_batch_size)
    if spec.backend == "ensemble":
        config.platform = "ensemble"
    else:
        config.backend = spec.backend
    config.version_policy.specific.versions.extend(versions)
    for tensor in spec.inputs:
        config.input.add(**_tensor(tensor))
    for tensor in spec.outputs:
        config.output.add(**_tensor(tensor))
    return config


def _tensor(tensor: TensorSpec) -> dict[str, Any]:
    return {"name": tensor.name, "data_type": _DTYPES[tensor.triton_dtype], "dims": tensor.triton_dims}


def _warmup_dims(tensor: TensorSpec) -> list[int]:
    """Return one frame of a typical size where sizes are dynamic."""
    count = tensor.shape.count(None)
    free = {"frames": (1, *contracts.TYPICAL_FRAME_HW)[-count:]}.get(tensor.name, (1,) * count)
    sizes = iter(free)
    return [next(sizes) if size is None else size for size in tensor.shape]

"""Triton's `config.pbtxt` for every model, built and checked as protobuf messages."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

from deepfake_triton import contracts
from deepfake_triton.contracts import ModelSpec, TensorSpec
from deepfake_triton.export.queueing import FEWEST_WAITING

WARMUP_FRAME_HW = (360, 640)
INSTANCES = {contracts.face_tracker().name: 2}
"""Of Python steps; one where it is not said."""
QUEUE_TIMEOUT_US = 20_000_000
LATER_QUEUE, LATER_QUEUE_TIMEOUT_US = 1024, 120_000_000
"""More than the first step ever lets in, so that no work that somebody waits for is thrown away."""
LATER_QUEUES = {contracts.face_tracker().name: 2 * contracts.MAX_FRAMES}
"""Two full batches of the detector: a clip takes milliseconds there, so more wait for hostile ones alone."""
FIRST_STEPS = (contracts.frame_decoder().name, contracts.face_detector().name)
RUN_ROWS, RUN_ELEMENTS = 8, 2**23
"""What the detector takes at once: a frame of 1920 × 1080, or eight small ones, about 200 MB."""
RUN_CROPS = contracts.MAX_FRAMES
"""What the extractor takes at once."""
COMPUTE = "compute"
"""What graphs take in turn where Triton runs with `--rate-limit=execution_count`; else it says nothing."""
FIRST_STEP_PRIORITY = 1000
"""Triton's higher numbers have fewer turns: what was begun is finished first."""
_KINDS = {"python": pb.ModelInstanceGroup.KIND_CPU, "tensorrt": pb.ModelInstanceGroup.KIND_GPU}
_DTYPES = {
    "UINT8": pb.TYPE_UINT8,
    "FP32": pb.TYPE_FP32,
    "BOOL": pb.TYPE_BOOL,
    "BYTES": pb.TYPE_STRING,
}


def step_config(
    spec: ModelSpec,
    versions: Sequence[int],
    openvino: bool = False,
    mixes_batch: bool = False,
    engine_files: Mapping[str, str] | None = None,
    max_queue: int = FEWEST_WAITING,
) -> pb.ModelConfig:
    """The config of a composing model, of which Triton loads exactly `versions`.

    `openvino` asks ONNX Runtime for that accelerator on CPUs. Requests for a graph that
    `mixes_batch` are not put together. `engine_files` names TensorRT's files by compute capability.
    `max_queue` clips may wait for the detector, or the decoder, and more than they let in behind it.
    """
    is_first = spec.name in FIRST_STEPS
    served = _one_at_a_time(spec) if mixes_batch else spec
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
    group = config.instance_group.add(
        kind=_KINDS.get(spec.backend, pb.ModelInstanceGroup.KIND_AUTO),
        count=INSTANCES.get(spec.name, 1),
    )
    if spec.max_batch_size:
        group.rate_limiter.resources.add(name=COMPUTE, count=1, **{"global": True})
        group.rate_limiter.priority = FIRST_STEP_PRIORITY if is_first else 1
    if openvino:
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
    ensemble: ModelSpec, version: int, crop_side: int, parameters: Mapping[str, str]
) -> pb.ModelConfig:
    """An ensemble of what leads from its inputs to its outputs: each step pinned to `version`, so that no
    answer mixes two exports."""
    config = _config(ensemble, [version])
    steps = [spec for spec in contracts.served_models(crop_side) if spec.backend != "ensemble"]
    if ensemble.inputs != contracts.deepfake_detector_jpeg().inputs:
        steps.remove(contracts.frame_decoder())
    used = {tensor.name for spec in steps for tensor in spec.inputs} | {
        tensor.name for tensor in ensemble.outputs
    }
    for spec in steps:
        step = config.ensemble_scheduling.step.add(model_name=spec.name, model_version=version)
        for tensor in spec.inputs:
            step.input_map[tensor.name] = tensor.name
        for tensor in spec.outputs:
            if tensor.name in used:
                step.output_map[tensor.name] = tensor.name
    for key, value in parameters.items():
        config.parameters[key].string_value = value
    return config


def _one_at_a_time(spec: ModelSpec) -> ModelSpec:
    """The same tensors on the wire, of a model whose requests Triton does not put together."""
    stacked = [tuple(tensor.stacked() for tensor in tensors) for tensors in (spec.inputs, spec.outputs)]
    return replace(spec, inputs=stacked[0], outputs=stacked[1], max_batch_size=0)


def _memory_bounds(spec: ModelSpec, mixes_batch: bool) -> dict[str, int]:
    """What one request and one run of a graph may hold: NVIDIA's C++ backend passes over these words."""
    (tensor,) = spec.inputs
    if spec == contracts.face_detector():
        channels = tensor.shape[-1] or 1
        return {
            "max_request_elements": contracts.MAX_CLIP_PIXELS * channels,
            "max_row_elements": contracts.MAX_SERVED_FRAME_SIDE**2 * channels,
            "max_run_elements": RUN_ELEMENTS,
            "max_run_rows": RUN_ROWS,
        }
    frame_elements = math.prod(size for size in tensor.shape if size is not None)
    bounds = {"max_request_elements": spec.max_batch_size * contracts.MAX_FRAMES * frame_elements}
    if not mixes_batch:  # one row is a track
        bounds["max_row_elements"] = contracts.MAX_FRAMES * frame_elements
    if spec.name == contracts.feature_extractor().name:
        bounds["max_run_elements"] = RUN_CROPS * frame_elements
    return bounds


def ensemble_parameters(
    *,
    weights: str,
    export_version: int,
    export_sha256: str,
    crop_side: int,
    temporal: str,
    pooling: str,
    operating_points: Mapping[str, float],
) -> dict[str, str]:
    """What a client reads of the model that answers it."""
    return {
        "weights": weights,
        "export_version": str(export_version),
        "export_sha256": export_sha256,
        "crop_side": str(crop_side),
        "temporal": temporal,
        "pooling": pooling,
        "operating_points": json.dumps(dict(operating_points), sort_keys=True),
    }


def config_text(config: pb.ModelConfig) -> str:
    """The text that Triton reads."""
    text: str = text_format.MessageToString(config)
    return text


def config_from_text(text: str) -> pb.ModelConfig:
    """The message that the text of a `config.pbtxt` stands for."""
    return text_format.Parse(text, pb.ModelConfig())


def loaded_versions(config: pb.ModelConfig) -> list[int]:
    """The versions that a config of ours names."""
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
    """One frame of the usual size where sizes are free."""
    count = tensor.shape.count(None)
    free = {"frames": (1, *WARMUP_FRAME_HW)[-count:]}.get(tensor.name, (1,) * count)
    sizes = iter(free)
    return [next(sizes) if size is None else size for size in tensor.shape]

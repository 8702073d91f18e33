"""The backend `onnxruntime` in Python, with the behavior of NVIDIA's C++ backend of that name.

Triton starts one process for each model instance. A repository runs on either backend: beyond what the C++
one reads of `config.pbtxt`, this one reads parameters that bound its memory, which the other ignores: the
fields of `GraphLimits`, prefixed with `max_`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import triton_python_backend_utils as pb_utils
from onnxruntime.capi import onnxruntime_pybind11_state as ort_state

from deepfake_triton.serving.execution_providers import (
    CPU_PROVIDERS,
    load_cuda_libraries,
    providers_from_config,
    require_in_use,
)
from deepfake_triton.serving.gpu_sessions import RUN_SCALE, GpuSessions
from deepfake_triton.serving.graph_limits import Feed, GraphLimits
from deepfake_triton.serving.warm_up import InputSpec, warm_feeds
from deepfake_triton.shared_pages import discard_pages, discard_untouched_pages

Config = Mapping[str, Any]

# ONNX Runtime's own errors share no base class but Exception.
ORT_ERRORS: tuple[type[Exception], ...] = (
    RuntimeError,
    ValueError,
    *(kind for kind in vars(ort_state).values() if isinstance(kind, type) and issubclass(kind, Exception)),
)
# optimization { graph { level } }
GRAPH_LEVELS = {
    -1: onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    0: onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL,
    1: onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    2: onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL,
}
EXECUTION_MODES = {
    0: onnxruntime.ExecutionMode.ORT_SEQUENTIAL,
    1: onnxruntime.ExecutionMode.ORT_PARALLEL,
}


class TritonPythonModel:
    """Triton's interface for Python-based backends: one ONNX Runtime session for each instance."""

    @staticmethod
    def auto_complete_config(auto_complete_model_config: Any) -> Any:
        """Return the config unchanged: exports write all of it."""
        return auto_complete_model_config

    def initialize(self, args: dict[str, str]) -> None:
        """Load the version's ONNX file with the options of its config."""
        discard_untouched_pages()
        config = json.loads(args["model_config"])
        self.name = config["name"]
        file_name = config.get("default_model_filename") or "model.onnx"
        path = Path(args["model_repository"]) / args["model_version"] / file_name
        on_gpu, device_id = args["model_instance_kind"] == "GPU", int(args["model_instance_device_id"])
        if on_gpu:
            load_cuda_libraries()
        try:
            providers = providers_from_config(config, on_gpu, device_id)
            options = session_options_from_config(config, on_gpu)
            open_session = partial(onnxruntime.InferenceSession, str(path), options, providers=providers)
            self.session = open_session()
            require_in_use([name for name, _ in providers], self.session.get_providers())
        except ORT_ERRORS as error:
            raise pb_utils.TritonModelException(f"{config['name']}: {error}") from error
        self.batched = config.get("max_batch_size", 0) > 0
        self.limits = limits_from_config(config)
        self.shrink_arena = onnxruntime.RunOptions()
        if options.enable_cpu_mem_arena:
            self.shrink_arena.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
        self.inputs = [tensor["name"] for tensor in config["input"]]
        self.outputs = [tensor["name"] for tensor in config["output"]]
        require_tensors(config["name"], "inputs", named=self.inputs, found=self.session.get_inputs())
        require_tensors(config["name"], "outputs", named=self.outputs, found=self.session.get_outputs())
        self.gpu_sessions = None
        if on_gpu and self.batched:
            self.limits = self.limits.scaled(RUN_SCALE)
            self.gpu_sessions = GpuSessions(
                self.session, open_session, inputs=self.inputs, outputs=self.outputs
            )
        if self.batched:
            self.warm_up(
                [_input_spec(tensor) for tensor in config["input"]],
                compiles_shapes=providers[0][0] == CPU_PROVIDERS["openvino"],
            )

    def warm_up(self, inputs: list[InputSpec], *, compiles_shapes: bool) -> None:
        """Compute the usual shapes once, so that Triton says ready afterwards; a graph may refuse them."""
        if self.gpu_sessions is not None:
            self.gpu_sessions.warm_up(inputs)
            return
        try:
            for feed in warm_feeds(inputs, self.limits, compiles_shapes=compiles_shapes):
                self.run_once(feed)
        except ORT_ERRORS as error:
            pb_utils.Logger.log_warn(f"{self.name}: not warmed up: {error}")

    def execute(self, requests: list[Any]) -> list[Any]:
        """Run the requests of a batch together, and split the result."""
        received = [
            [pb_utils.get_input_tensor_by_name(request, name) for name in self.inputs] for request in requests
        ]
        feeds = [[tensor.as_numpy() for tensor in tensors] for tensors in received]
        responses: list[Any] = [
            self.refusal(feed, tensors) for feed, tensors in zip(feeds, received, strict=True)
        ]
        allowed = [index for index, response in enumerate(responses) if response is None]
        for group in self.group_requests(allowed, feeds):
            run_together = self.respond_together([feeds[index] for index in group])
            for index, response in zip(group, run_together, strict=True):
                responses[index] = response
        return responses

    def refusal(self, feed: Feed, received: list[Any]) -> Any:
        """Return the error for a request that is too large, or None."""
        for name, array in zip(self.inputs, feed, strict=True):
            reason = self.limits.refusal(name, array)
            if reason is not None:
                for tensor in received:
                    discard_pages(tensor)
                error = pb_utils.TritonError(reason, code=pb_utils.TritonError.INVALID_ARG)
                return pb_utils.InferenceResponse(error=error)
        return None

    def group_requests(self, indices: list[int], feeds: list[Feed]) -> Iterator[list[int]]:
        """Yield the requests of each run: all of them, or as many consecutive ones as the limits allow."""
        if not self.batched:
            yield from ([index] for index in indices)
            return
        group: list[int] = []
        rows = 0
        for index in indices:
            count = len(feeds[index][0])
            if group and self.limits.splits_batches and rows + count > self.limits.max_rows(feeds[group[0]]):
                yield group
                group, rows = [], 0
            group.append(index)
            rows += count
        if group:
            yield group

    def respond_together(self, feeds: list[Feed]) -> list[Any]:
        """Run all requests as one batch; if that fails, each by itself, so that a bad request fails alone."""
        if len(feeds) == 1:
            return [self.respond_alone(feeds[0])]
        ends = np.cumsum([len(feed[0]) for feed in feeds])
        try:
            results = self.run_together(feeds)
        except ORT_ERRORS:
            return [self.respond_alone(feed) for feed in feeds]
        if any(len(result) != ends[-1] for result in results):  # a graph that mixes its rows
            return [self.respond_alone(feed) for feed in feeds]
        parts = zip(*(np.split(result, ends[:-1]) for result in results), strict=True)
        return [self.response(part) for part in parts]

    def respond_alone(self, feed: Feed) -> Any:
        """Return the response to one request, or its error."""
        try:
            return self.response(self.run(feed))
        except ORT_ERRORS as error:
            return pb_utils.InferenceResponse(error=pb_utils.TritonError(str(error)))

    def run_together(self, feeds: list[Feed]) -> Feed:
        """Compute the outputs of a group of requests, whose rows one run may hold."""
        if self.gpu_sessions is not None:
            return self.gpu_sessions.run(feeds)
        return self.run([np.concatenate(tensors) for tensors in zip(*feeds, strict=True)])

    def run(self, tensors: Feed) -> Feed:
        """Compute the outputs from the inputs, both in the config's order."""
        if not (self.batched and self.limits.splits_batches) or (
            self.gpu_sessions is not None and len(tensors[0]) <= self.limits.max_rows(tensors)
        ):
            return self.run_once(tensors)
        parts = [self.run_once([tensor[rows] for tensor in tensors]) for rows in self.limits.pieces(tensors)]
        return (
            parts[0] if len(parts) == 1 else [np.concatenate(pieces) for pieces in zip(*parts, strict=True)]
        )

    def run_once(self, tensors: Feed) -> Feed:
        """Run the graph once; after an oversized row, its memory is released."""
        if self.gpu_sessions is not None:
            return self.gpu_sessions.run([tensors])
        options = self.shrink_arena if self.limits.is_exceeded(tensors) else None
        feed = dict(zip(self.inputs, tensors, strict=True))
        results: Feed = self.session.run(self.outputs, feed, options)
        return results

    def response(self, results: Iterable[npt.NDArray[Any]]) -> Any:
        """Wrap outputs as a response."""
        return pb_utils.InferenceResponse(
            [pb_utils.Tensor(name, result) for name, result in zip(self.outputs, results, strict=True)]
        )


def _input_spec(tensor: Config) -> InputSpec:
    dtype = np.dtype(pb_utils.triton_string_to_numpy(tensor["data_type"]))
    return InputSpec(tensor["name"], tuple(int(size) for size in tensor["dims"]), dtype)


def session_options_from_config(config: Config, on_gpu: bool) -> onnxruntime.SessionOptions:
    """Read threads, execution mode, memory and graph optimization as the C++ backend does."""
    options = onnxruntime.SessionOptions()
    level = int(config.get("optimization", {}).get("graph", {}).get("level", 0))
    options.graph_optimization_level = GRAPH_LEVELS.get(level, GRAPH_LEVELS[0])
    mode = integer_parameter(config, "execution_mode")
    if mode not in EXECUTION_MODES:
        raise pb_utils.TritonModelException(f"execution_mode: got {mode}, expected 0 or 1")
    options.execution_mode = EXECUTION_MODES[mode]
    threads = max(0, integer_parameter(config, "intra_op_thread_count"))
    options.intra_op_num_threads = threads or int(on_gpu)  # a GPU leaves the CPU arithmetic on shapes
    options.inter_op_num_threads = max(0, integer_parameter(config, "inter_op_thread_count"))
    options.enable_cpu_mem_arena = boolean_parameter(config, "enable_mem_arena")
    options.enable_mem_pattern = boolean_parameter(config, "enable_mem_pattern")
    return options


def limits_from_config(config: Config) -> GraphLimits:
    """Read the parameters that bound memory. Raises TritonModelException for a negative one."""
    found = {field.name: integer_parameter(config, f"max_{field.name}") for field in fields(GraphLimits)}
    for name, value in found.items():
        if value < 0:
            raise pb_utils.TritonModelException(f"parameter max_{name}: got {value}, expected 0 or more")
    return GraphLimits(**found)


def parameter(config: Config, key: str) -> str | None:
    """Return a string parameter of the config."""
    text: str | None = config.get("parameters", {}).get(key, {}).get("string_value")
    return text


def integer_parameter(config: Config, key: str) -> int:
    """Return an integer parameter; 0 where it is missing."""
    text = parameter(config, key) or "0"
    try:
        return int(text)
    except ValueError:
        raise pb_utils.TritonModelException(f"parameter {key}: got {text!r}, expected a number") from None


def boolean_parameter(config: Config, key: str) -> bool:
    """Return a Boolean parameter; true where it is missing."""
    text = (parameter(config, key) or "1").lower()
    if text not in ("0", "1", "false", "true"):
        raise pb_utils.TritonModelException(f"parameter {key}: got {text!r}, expected 0, 1, false or true")
    return text in ("1", "true")


def require_tensors(model: str, kind: str, *, named: list[str], found: list[Any]) -> None:
    """Raise TritonModelException where the config names tensors that the graph does not have."""
    found_names = [tensor.name for tensor in found]
    if not set(named) <= set(found_names):
        raise pb_utils.TritonModelException(
            f"{model}: config.pbtxt names the {kind} {named}, the ONNX file has {found_names}"
        )

"""Whatever runs a graph, behind one call: named arrays in, named arrays out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
import torch

from deepfake_triton.contracts import FAKE_PROBABILITY, FEATURES, LOGITS, faces_spec
from deepfake_triton.errors import EngineError, ExportError, InferenceFailed, MissingDependency
from deepfake_triton.export.checkpoint import Checkpoint
from deepfake_triton.export.tensorrt_library import TensorRT, gpu_compute_capability

Feed = Mapping[str, npt.NDArray[Any]]
Provider = Literal["cpu", "openvino", "cuda"]

PROVIDERS: dict[Provider, tuple[str, dict[str, str]]] = {
    "cpu": ("CPUExecutionProvider", {}),
    "openvino": ("OpenVINOExecutionProvider", {"device_type": "CPU"}),
    "cuda": ("CUDAExecutionProvider", {}),
}


class Runner(Protocol):
    """One graph, ready to run; `runtime` says by what, for reports."""

    @property
    def runtime(self) -> str:
        """Such as `ONNX Runtime 1.24.1, CPU`."""
        ...

    def infer(self, feed: Feed) -> Feed:
        """The graph's outputs by name, for its inputs by name."""
        ...


class TorchRunner:
    """A checkpoint's own networks, in torch: `faces`, or their `features`, to `features`, `logits` and
    `fake_probability`."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.checkpoint = checkpoint

    @property
    def runtime(self) -> str:
        """See Runner."""
        return f"torch {torch.__version__}"

    def infer(self, feed: Feed) -> Feed:
        """See Runner."""
        with torch.inference_mode():
            if FEATURES.name in feed:
                features = torch.from_numpy(feed[FEATURES.name])
            else:
                faces = feed[faces_spec(self.checkpoint.facts.crop_side).name]
                features = self.checkpoint.extractor(torch.from_numpy(faces))
            logits, probability = self.checkpoint.classifier(features)
        outputs = {FEATURES.name: features, LOGITS.name: logits, FAKE_PROBABILITY.name: probability}
        return {name: value.numpy() for name, value in outputs.items()}


def load_onnxruntime() -> Any:
    """The package. Raises MissingDependency, with what to install."""
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingDependency(
            "ONNX Runtime is not installed: pip install 'deepfake-triton[cpu]' or, for OpenVINO, "
            "'deepfake-triton[openvino]'"
        ) from error
    return onnxruntime


class OnnxRunner:
    """An ONNX file under ONNX Runtime."""

    def __init__(self, graph: Path, provider: Provider = "cpu") -> None:
        """Raises MissingDependency without ONNX Runtime or such a provider, ExportError for a graph that does
        not load there."""
        onnxruntime = load_onnxruntime()
        name, options = PROVIDERS[provider]
        if name not in onnxruntime.get_available_providers():
            package = "onnxruntime-gpu" if provider == "cuda" else "'deepfake-triton[openvino]'"
            raise MissingDependency(
                f"ONNX Runtime {onnxruntime.__version__} has no {name}; in an environment of its own: "
                f"pip install {package}"
            )
        wanted = [(name, options)] if provider == "cpu" else [(name, options), PROVIDERS["cpu"]]
        self._errors = _onnxruntime_errors()
        try:
            self.session: Any = onnxruntime.InferenceSession(str(graph), providers=wanted)
        except self._errors as error:
            raise ExportError(f"{graph}: {name} cannot load it: {' '.join(str(error).split())}") from error
        if name not in self.session.get_providers():
            raise MissingDependency(f"{name} is installed but does not start here; the log says why")
        self.provider = provider
        self.version = onnxruntime.__version__
        self.outputs = [output.name for output in self.session.get_outputs()]

    @property
    def runtime(self) -> str:
        """See Runner."""
        return f"ONNX Runtime {self.version}, {PROVIDERS[self.provider][0]}"

    def infer(self, feed: Feed) -> Feed:
        """See Runner. Raises InferenceFailed."""
        try:
            return dict(zip(self.outputs, self.session.run(self.outputs, dict(feed)), strict=True))
        except self._errors as error:
            raise InferenceFailed(f"{self.runtime}: {' '.join(str(error).split())}") from error


def _onnxruntime_errors() -> tuple[type[Exception], ...]:
    """They share no base class but Exception."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    own = [kind for kind in vars(state).values() if isinstance(kind, type) and issubclass(kind, Exception)]
    return (RuntimeError, ValueError, *own)


class TensorRTRunner:
    """An engine on the GPU that it was built for; torch holds its buffers."""

    def __init__(self, engine: Path, library: TensorRT) -> None:
        """Raises EngineError without a GPU, or when the engine was built for another."""
        if gpu_compute_capability() is None:
            raise EngineError(f"{engine}: not run: there is no GPU here")
        trt = library.module
        self.library = library
        self.engine = trt.Runtime(trt.Logger(trt.Logger.ERROR)).deserialize_cuda_engine(engine.read_bytes())
        if self.engine is None:
            raise EngineError(f"{engine}: was built for another GPU, or by another {library.name}")
        self.context = self.engine.create_execution_context()
        names = [self.engine.get_tensor_name(index) for index in range(self.engine.num_io_tensors)]
        is_input = {name: self.engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT for name in names}
        self.inputs = [name for name in names if is_input[name]]
        self.outputs = [name for name in names if not is_input[name]]

    @property
    def runtime(self) -> str:
        """See Runner."""
        return f"{self.library.name} {self.library.version}, {torch.cuda.get_device_name(0)}"

    def infer(self, feed: Feed) -> Feed:
        """See Runner. Raises EngineError for shapes outside the engine's profiles."""
        trt = self.library.module
        tensors = {name: torch.from_numpy(np.ascontiguousarray(feed[name])).cuda() for name in self.inputs}
        for name, tensor in tensors.items():
            if not self.context.set_input_shape(name, tuple(tensor.shape)):
                raise EngineError(f"{name} {list(tensor.shape)} is outside of the engine's profiles")
        for name in self.outputs:
            kind = torch.from_numpy(np.empty(0, trt.nptype(self.engine.get_tensor_dtype(name)))).dtype
            shape = tuple(self.context.get_tensor_shape(name))
            tensors[name] = torch.empty(shape, dtype=kind, device="cuda")
        for name, tensor in tensors.items():
            self.context.set_tensor_address(name, tensor.data_ptr())
        stream = torch.cuda.current_stream()
        if not self.context.execute_async_v3(stream.cuda_stream):
            raise EngineError("the engine did not run; the log says why")
        stream.synchronize()
        return {name: tensors[name].cpu().numpy() for name in self.outputs}


class TritonRunner:
    """A model of a running Triton, over gRPC; `version` "" is the newest."""

    def __init__(self, url: str, model: str, version: str = "") -> None:
        from tritonclient import grpc

        self.url, self.model, self.version = url, model, version
        self.connection: Any = grpc.InferenceServerClient(url)

    @property
    def runtime(self) -> str:
        """See Runner."""
        return f"Triton {self.connection.get_server_metadata().version} at {self.url}"

    def infer(self, feed: Feed) -> Feed:
        """See Runner. Raises InferenceFailed with what the server says."""
        from tritonclient import grpc, utils

        inputs = []
        for name, values in feed.items():
            tensor = grpc.InferInput(name, list(values.shape), utils.np_to_triton_dtype(values.dtype))
            inputs.append(tensor.set_data_from_numpy(values))
        try:
            answer = self.connection.infer(self.model, inputs, model_version=self.version)
        except utils.InferenceServerException as error:
            raise InferenceFailed(f"{self.model} at {self.url}: {error.message()}") from error
        return {entry.name: answer.as_numpy(entry.name) for entry in answer.get_response().outputs}

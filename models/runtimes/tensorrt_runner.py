"""Runner of a TensorRT engine on the GPU that it was built for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from deepfake_triton.errors import EngineError
from deepfake_triton.models.runtimes.base import Feed
from deepfake_triton.models.runtimes.tensorrt_library import TensorRT, gpu_compute_capability


class TensorRTRunner:
    """A TensorRT engine; torch allocates its device buffers.

    Raises EngineError without a GPU, or for an engine that was built for another GPU or library version.
    """

    def __init__(self, engine: Path, library: TensorRT) -> None:
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
        """Library, version and GPU."""
        return f"{self.library.name} {self.library.version}, {torch.cuda.get_device_name(0)}"

    def infer(self, feed: Feed) -> Feed:
        """Return the outputs by name. Raises EngineError for shapes outside the engine's profiles."""
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

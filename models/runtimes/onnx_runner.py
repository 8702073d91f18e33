"""Runner of an ONNX file under ONNX Runtime, by one of its execution providers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from deepfake_triton.errors import ExportError, InferenceFailed, MissingDependency
from deepfake_triton.host.onnx_runtime import import_onnx_runtime
from deepfake_triton.models.runtimes.base import Feed

Provider = Literal["cpu", "openvino", "openvino-bf16", "cuda"]

PROVIDERS: dict[Provider, tuple[str, dict[str, str]]] = {
    "cpu": ("CPUExecutionProvider", {}),
    "openvino": ("OpenVINOExecutionProvider", {"device_type": "CPU"}),
    "openvino-bf16": (
        "OpenVINOExecutionProvider",
        {"device_type": "CPU", "load_config": json.dumps({"CPU": {"INFERENCE_PRECISION_HINT": "bf16"}})},
    ),
    "cuda": ("CUDAExecutionProvider", {}),
}
"""ONNX Runtime's execution providers and their options."""


class OnnxRunner:
    """An ONNX file under ONNX Runtime.

    Raises MissingDependency without ONNX Runtime or the execution provider, ExportError for a graph that the
    provider cannot load.
    """

    def __init__(self, graph: Path, provider: Provider = "cpu") -> None:
        onnxruntime = import_onnx_runtime()
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
        """Name, version and execution provider."""
        precision = " in bf16" if self.provider == "openvino-bf16" else ""
        return f"ONNX Runtime {self.version}, {PROVIDERS[self.provider][0]}{precision}"

    def infer(self, feed: Feed) -> Feed:
        """Return the graph's outputs by name. Raises InferenceFailed."""
        try:
            return dict(zip(self.outputs, self.session.run(self.outputs, dict(feed)), strict=True))
        except self._errors as error:
            raise InferenceFailed(f"{self.runtime}: {' '.join(str(error).split())}") from error


def _onnxruntime_errors() -> tuple[type[Exception], ...]:
    """Return ONNX Runtime's exceptions, which share no base class but Exception."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    own = [kind for kind in vars(state).values() if isinstance(kind, type) and issubclass(kind, Exception)]
    return (RuntimeError, ValueError, *own)

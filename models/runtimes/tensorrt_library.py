"""TensorRT or TensorRT-RTX, whichever is installed, behind the API that both share.

TensorRT builds engines for the GPU that it runs on, and Triton's `tensorrt` backend loads them. TensorRT-RTX
builds for any GPU, without one; only TensorRT-RTX loads its engines.
"""

from __future__ import annotations

import ctypes
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from deepfake_triton.contracts import BuilderName
from deepfake_triton.errors import EngineError, MissingDependency
from deepfake_triton.host.cuda import first_gpu

BUILDERS: tuple[BuilderName, ...] = get_args(BuilderName)

_RTX_WHEEL = "onnxruntime_ep_nv_tensorrt_rtx"
_RTX_LIBRARIES = ("libtensorrt_rtx.so.1.*", "libtensorrt_onnxparser_rtx.so.1.*")


@dataclass(frozen=True)
class TensorRT:
    """The imported library."""

    module: Any
    name: BuilderName

    @property
    def version(self) -> str:
        """The library's version."""
        return str(self.module.__version__)

    @property
    def targets(self) -> tuple[str, ...]:
        """Compute capabilities, such as `8.9`, that it builds for without the GPU; none for TensorRT."""
        if self.name == "tensorrt":
            return ()
        names = [name for name in dir(self.module.ComputeCapability) if name.startswith("SM")]
        return tuple(sorted((f"{name[2:-1]}.{name[-1]}" for name in names), key=float))

    def target(self, compute_capability: str) -> Any:
        """Return the library's constant for a compute capability. Raises EngineError if unsupported."""
        if compute_capability not in self.targets:
            raise EngineError(
                f"--compute-capability: got {compute_capability}, expected one of {', '.join(self.targets)}"
            )
        return getattr(self.module.ComputeCapability, "SM" + compute_capability.replace(".", ""))


def load_tensorrt(name: BuilderName | None = None) -> TensorRT:
    """Import the library of that name; without a name, TensorRT, else TensorRT-RTX.

    Raises MissingDependency when it is not installed.
    """
    for builder in (name,) if name else BUILDERS:
        module = _import_tensorrt() if builder == "tensorrt" else _import_tensorrt_rtx()
        if module:
            return TensorRT(module, builder)
    raise MissingDependency(
        f"{name or 'TensorRT'} is not installed: TensorRT comes with NVIDIA's Triton container; to compile "
        "without a GPU: pip install 'deepfake-triton[tensorrt-rtx]'"
    )


def gpu_compute_capability() -> str | None:
    """Return the compute capability of the first GPU, such as `8.9`; None without a GPU."""
    gpu = first_gpu()
    return gpu.compute_capability if gpu else None


def _import_tensorrt() -> Any:
    try:
        import tensorrt
    except (ImportError, OSError, RuntimeError):  # a wheel that is there without its libraries
        return None
    return tensorrt


def _import_tensorrt_rtx() -> Any:
    """Load the shared libraries from their wheel first: the bindings do not find them by themselves."""
    spec = importlib.util.find_spec(_RTX_WHEEL)
    if spec is None or importlib.util.find_spec("tensorrt_rtx_bindings") is None:
        return None
    folders = [Path(folder) for folder in spec.submodule_search_locations or []]
    for pattern in _RTX_LIBRARIES:
        for path in (path for folder in folders for path in folder.glob(pattern)):
            _load(path)
    import tensorrt_rtx_bindings

    return tensorrt_rtx_bindings


def _load(library: Path) -> None:
    try:
        ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)
    except OSError as error:
        raise MissingDependency(f"{library.name} of TensorRT-RTX cannot be loaded here: {error}") from error

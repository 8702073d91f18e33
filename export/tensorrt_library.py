"""TensorRT or TensorRT-RTX, whichever is installed, behind the API that both share.

TensorRT builds for the GPU that it runs on, what Triton's `tensorrt` backend loads. TensorRT-RTX compiles for
any GPU, without one; only TensorRT-RTX loads what it makes.
"""

from __future__ import annotations

import ctypes
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from deepfake_triton.errors import EngineError, MissingDependency

BuilderName = Literal["tensorrt", "tensorrt-rtx"]
BUILDERS: tuple[BuilderName, ...] = get_args(BuilderName)

_MAJOR, _MINOR = 75, 76
"""CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR of the CUDA driver."""

_RTX_WHEEL = "onnxruntime_ep_nv_tensorrt_rtx"
_RTX_LIBRARIES = ("libtensorrt_rtx.so.1.*", "libtensorrt_onnxparser_rtx.so.1.*")


@dataclass(frozen=True)
class TensorRT:
    """The imported library. `targets` are the compute capabilities that it compiles for without their GPU."""

    module: Any
    name: BuilderName

    @property
    def version(self) -> str:
        """As the library says."""
        return str(self.module.__version__)

    @property
    def targets(self) -> tuple[str, ...]:
        """Such as `8.9`; none for TensorRT, which builds for the GPU at hand."""
        if self.name == "tensorrt":
            return ()
        names = [name for name in dir(self.module.ComputeCapability) if name.startswith("SM")]
        return tuple(sorted((f"{name[2:-1]}.{name[-1]}" for name in names), key=float))

    def target(self, compute_capability: str) -> Any:
        """The library's own word for it. Raises EngineError for one that it does not compile for."""
        if compute_capability not in self.targets:
            raise EngineError(
                f"--compute-capability: got {compute_capability}, expected one of {', '.join(self.targets)}"
            )
        return getattr(self.module.ComputeCapability, "SM" + compute_capability.replace(".", ""))


def load_tensorrt(name: BuilderName | None = None) -> TensorRT:
    """The library of that name; without one, TensorRT, and where it is not installed, TensorRT-RTX.

    Raises MissingDependency.
    """
    for each in (name,) if name else BUILDERS:
        module = _import_tensorrt() if each == "tensorrt" else _import_tensorrt_rtx()
        if module:
            return TensorRT(module, each)
    raise MissingDependency(
        f"{name or 'TensorRT'} is not installed: TensorRT comes with NVIDIA's Triton container; to compile "
        "without a GPU: pip install 'deepfake-triton[tensorrt-rtx]'"
    )


def gpu_compute_capability() -> str | None:
    """Of the first GPU, such as `8.9`; None without one.

    Asked of the driver itself (cuDeviceGetAttribute): the container that serves has no torch.
    """
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None
    device, part = ctypes.c_int(), ctypes.c_int()
    if driver.cuInit(0) or driver.cuDeviceGet(ctypes.byref(device), 0):
        return None
    parts = []
    for attribute in (_MAJOR, _MINOR):
        if driver.cuDeviceGetAttribute(ctypes.byref(part), attribute, device):
            return None
        parts.append(str(part.value))
    return ".".join(parts)


def _import_tensorrt() -> Any:
    try:
        import tensorrt
    except (ImportError, OSError, RuntimeError):  # a wheel that is there without its libraries
        return None
    return tensorrt


def _import_tensorrt_rtx() -> Any:
    """The bindings name no folder for their libraries, so these are loaded first, from their wheel."""
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

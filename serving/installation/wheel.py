"""The Triton inside the wheel nvidia-pytriton, with this project's own ONNX Runtime backend."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from deepfake_triton.errors import MissingDependency
from deepfake_triton.serving.installation.base import Installation, gpu_by_onnx_runtime
from deepfake_triton.serving.installation.python_environment import PYTHON_VERSION

_OWN_BACKENDS = Path(__file__).resolve().parents[1] / "backends"
INSTALL = "pip install 'deepfake-triton[server,cpu]' (Linux, x86-64, Python 3.10 to 3.12{})".format(
    f"; numpy 1, which it needs, has no wheel for {PYTHON_VERSION}" if sys.version_info >= (3, 13) else ""
)

_NEWER_OPTIONS = {"--http-max-input-size"}


@dataclass(frozen=True)
class EmbeddedTriton(Installation):
    """The embedded Triton: its folder inside the wheel, and its libraries."""

    @property
    def name(self) -> str:
        """Its name: the project takes no other release of the wheel."""
        return "Triton 2.51"

    def backend_folder(self, scratch: Path) -> Path:
        """Fill `scratch` with Triton's Python backend, its stub for this Python, and our own backends.

        Raises MissingDependency where the wheel has no stub for this Python.
        """
        python = scratch / "python"
        if python.is_dir():  # of a start before this one
            return scratch
        shutil.copytree(self.folder / "backends" / "python", python)
        stub = self.folder / "python_backend_stubs" / PYTHON_VERSION / "triton_python_backend_stub"
        if not stub.is_file():
            raise MissingDependency(f"nvidia-pytriton has no backend for Python {PYTHON_VERSION}: {INSTALL}")
        shutil.copy2(stub, python)
        for backend in _OWN_BACKENDS.iterdir():
            if backend.is_dir():
                shutil.copytree(backend, scratch / backend.name, ignore=shutil.ignore_patterns("__pycache__"))
        return scratch

    def serves_on_gpu(self) -> bool:
        """Whether there is a GPU, and a build of ONNX Runtime that uses it."""
        return gpu_by_onnx_runtime()

    def python_backends(self) -> tuple[str, ...]:
        """Triton's own, and ours."""
        return ("python", "onnxruntime")

    def accepted(self, arguments: Iterable[str]) -> list[str]:
        """All but those of newer versions."""
        return [argument for argument in arguments if argument.partition("=")[0] not in _NEWER_OPTIONS]


def find_wheel() -> EmbeddedTriton | None:
    """Locate the wheel without importing it; None where it is not installed for this platform.

    Raises MissingDependency where numpy 2 is installed beside it.
    """
    spec = importlib.util.find_spec("pytriton")
    for location in (spec.submodule_search_locations or []) if spec else []:
        package = Path(location)
        found = EmbeddedTriton(package / "tritonserver", package.parent / "nvidia_pytriton.libs")
        if found.executable.is_file():
            _require_numpy_1()
            return found
    return None


def _require_numpy_1() -> None:
    found = metadata.version("numpy")
    if int(found.partition(".")[0]) >= 2:
        raise MissingDependency(
            f"numpy {found} is installed, with which the Python steps of the embedded Triton 2.51 get empty "
            f"tensors; in an environment of its own, where this brings numpy 1: {INSTALL}"
        )

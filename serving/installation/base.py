"""What every installation of Triton has: a program, libraries, backends, an environment."""

from __future__ import annotations

import os
import re
import sys
import sysconfig
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from deepfake_triton.host.cuda import gpu_count
from deepfake_triton.host.onnx_runtime import import_onnx_runtime

PLAIN_PATH = re.compile(r"[A-Za-z0-9_./-]+")
"""Paths that a shell leaves as they are: Triton's Python backend starts its processes through one."""


@dataclass(frozen=True)
class Installation(ABC):
    """One Triton: the folder with `bin` and `backends`, and its libraries."""

    folder: Path
    libraries: Path

    @property
    def executable(self) -> Path:
        """Path of the tritonserver binary."""
        return self.folder / "bin" / "tritonserver"

    @property
    @abstractmethod
    def name(self) -> str:
        """Name and version for users, such as "Triton 2.51"."""

    @abstractmethod
    def backend_folder(self, scratch: Path) -> Path:
        """Return the folder of the backends; `scratch` does not exist, and may be filled for it."""

    @abstractmethod
    def serves_on_gpu(self) -> bool:
        """Return whether there is a GPU that its backends can use."""

    @abstractmethod
    def python_backends(self) -> tuple[str, ...]:
        """Return the backends that run Python processes: they take the settings of shared memory."""

    @abstractmethod
    def accepted(self, arguments: Iterable[str]) -> list[str]:
        """Return the arguments without those that this version has no option for, and can do without.

        Raises InvalidInstallation where it lacks one that `serve` depends on.
        """

    def environment(self, binaries: Path | None = None) -> dict[str, str]:
        """Return the environment of a server; its models run the Python in `binaries`, or this one."""
        # LIBDIR is where Python was built, which a Python that was moved is not.
        python_libraries = [str(sysconfig.get_config_var("LIBDIR") or ""), str(Path(sys.base_prefix) / "lib")]
        paths = [str(self.libraries), *python_libraries]
        if inherited := os.environ.get("LD_LIBRARY_PATH"):
            paths.append(inherited)
        own_bin = str(binaries or Path(sys.executable).parent)
        # Triton would place models of KIND_AUTO on a GPU that ONNX Runtime's CPU build cannot use.
        no_gpu = {} if self.serves_on_gpu() else {"CUDA_VISIBLE_DEVICES": ""}
        return {
            **os.environ,
            **no_gpu,
            "LD_LIBRARY_PATH": ":".join(path for path in paths if path),
            "PATH": os.pathsep.join([own_bin, os.environ.get("PATH", "")]),
        }


def gpu_by_onnx_runtime() -> bool:
    """Return whether there is a GPU, and a build of ONNX Runtime in this environment that uses it."""
    return gpu_count() > 0 and "CUDAExecutionProvider" in import_onnx_runtime().get_available_providers()

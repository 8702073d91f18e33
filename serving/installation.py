"""Where the wheel nvidia-pytriton keeps Triton's parts, and what a server needs to start from them."""

from __future__ import annotations

import importlib.util
import os
import shutil
import site
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

from deepfake_triton.errors import MissingDependency

_OWN_BACKENDS = Path(__file__).resolve().parent / "backends"


@dataclass(frozen=True)
class Installation:
    """The embedded Triton: its folder inside the wheel, and the libraries beside it."""

    folder: Path
    libraries: Path

    @property
    def executable(self) -> Path:
        """The real tritonserver."""
        return self.folder / "bin" / "tritonserver"

    def environment(self, binaries: Path | None = None) -> dict[str, str]:
        """Variables for the server: its libraries, and the Python of its models, in `binaries` or this."""
        paths = [str(self.libraries), str(sysconfig.get_config_var("LIBDIR") or "")]
        if inherited := os.environ.get("LD_LIBRARY_PATH"):
            paths.append(inherited)
        own_bin = str(binaries or Path(sys.executable).parent)
        # Triton would place models of KIND_AUTO on a GPU that ONNX Runtime's CPU build cannot use.
        hidden = {} if "CUDAExecutionProvider" in _execution_providers() else {"CUDA_VISIBLE_DEVICES": ""}
        return {
            **os.environ,
            **hidden,
            "LD_LIBRARY_PATH": ":".join(path for path in paths if path),
            "PATH": os.pathsep.join([own_bin, os.environ.get("PATH", "")]),
        }

    def write_backends(self, folder: Path) -> None:
        """Lay out a backend folder: Triton's Python backend with this Python's stub, and ours on top."""
        python = folder / "python"
        shutil.copytree(self.folder / "backends" / "python", python)
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        stub = self.folder / "python_backend_stubs" / version / "triton_python_backend_stub"
        if not stub.is_file():
            raise MissingDependency(
                f"nvidia-pytriton has no backend for Python {version}; use 3.10, 3.11 or 3.12"
            )
        shutil.copy2(stub, python)
        for backend in _OWN_BACKENDS.iterdir():
            if backend.is_dir():
                shutil.copytree(backend, folder / backend.name, ignore=shutil.ignore_patterns("__pycache__"))


def write_python(folder: Path, models: Path) -> Path:
    """Lay out an environment in which Python models run: this one's packages, but from below `models` nothing
    compiled. Return its `bin`, which goes first on PATH.

    Triton's Python processes ignore Python's variables and arguments: what an environment says when it starts
    is all that they heed before they import the model.
    """
    binaries = folder / "bin"
    packages = folder / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    for made in (binaries, packages):
        made.mkdir(parents=True)
    (binaries / "python3").symlink_to(sys.executable)
    (folder / "pyvenv.cfg").write_text(
        f"home = {Path(sys.base_prefix) / 'bin'}\ninclude-system-site-packages = false\n"
    )
    imports = "deepfake_triton.serving.uncached_imports"
    used = [*site.getsitepackages(), *([site.getusersitepackages()] if site.ENABLE_USER_SITE else [])]
    lines = [f"import site; site.addsitedir({found!r})" for found in used]
    lines.append(f"import {imports}; {imports}.import_source_only({str(models)!r})")
    (packages / "deepfake_triton_models.pth").write_text("".join(f"{line}\n" for line in lines))
    return binaries


def find_installation() -> Installation:
    """Locate the wheel, without importing it. Raises MissingDependency without it or its platform."""
    spec = importlib.util.find_spec("pytriton")
    for location in (spec.submodule_search_locations or []) if spec else []:
        package = Path(location)
        found = Installation(package / "tritonserver", package.parent / "nvidia_pytriton.libs")
        if found.executable.is_file():
            return found
    raise MissingDependency(
        "Triton is not installed: pip install 'deepfake-triton[server,cpu]' (Linux, x86-64)"
    )


def _execution_providers() -> list[str]:
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingDependency(
            "ONNX Runtime is not installed: pip install 'deepfake-triton[cpu]' or, for OpenVINO, "
            "'deepfake-triton[openvino]'"
        ) from error
    return list(onnxruntime.get_available_providers())

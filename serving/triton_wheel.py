"""The Triton inside the wheel nvidia-pytriton: its files, its environment, its backends."""

from __future__ import annotations

import importlib.util
import os
import shutil
import site
import sys
import sysconfig
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from deepfake_triton.errors import MissingDependency
from deepfake_triton.host.onnx_runtime import import_onnx_runtime

_OWN_BACKENDS = Path(__file__).resolve().parent / "backends"
_PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
_INSTALL = "pip install 'deepfake-triton[server,cpu]' (Linux, x86-64, Python 3.10 to 3.12{})".format(
    f"; numpy 1, which it needs, has no wheel for {_PYTHON}" if sys.version_info >= (3, 13) else ""
)


@dataclass(frozen=True)
class Installation:
    """The embedded Triton: its folder inside the wheel, and its libraries."""

    folder: Path
    libraries: Path

    @property
    def executable(self) -> Path:
        """Path of the tritonserver binary."""
        return self.folder / "bin" / "tritonserver"

    def environment(self, binaries: Path | None = None) -> dict[str, str]:
        """Return the environment of a server; its models run the Python in `binaries`, or this one."""
        paths = [str(self.libraries), str(sysconfig.get_config_var("LIBDIR") or "")]
        if inherited := os.environ.get("LD_LIBRARY_PATH"):
            paths.append(inherited)
        own_bin = str(binaries or Path(sys.executable).parent)
        # Triton would place models of KIND_AUTO on a GPU that ONNX Runtime's CPU build cannot use.
        on_gpu = "CUDAExecutionProvider" in import_onnx_runtime().get_available_providers()
        no_gpu = {} if on_gpu else {"CUDA_VISIBLE_DEVICES": ""}
        return {
            **os.environ,
            **no_gpu,
            "LD_LIBRARY_PATH": ":".join(path for path in paths if path),
            "PATH": os.pathsep.join([own_bin, os.environ.get("PATH", "")]),
        }

    def write_backends(self, folder: Path) -> None:
        """Write a backend folder: Triton's Python backend with the stub for this Python, and our backends."""
        python = folder / "python"
        shutil.copytree(self.folder / "backends" / "python", python)
        stub = self.folder / "python_backend_stubs" / _PYTHON / "triton_python_backend_stub"
        if not stub.is_file():
            raise MissingDependency(f"nvidia-pytriton has no backend for Python {_PYTHON}: {_INSTALL}")
        shutil.copy2(stub, python)
        for backend in _OWN_BACKENDS.iterdir():
            if backend.is_dir():
                shutil.copytree(backend, folder / backend.name, ignore=shutil.ignore_patterns("__pycache__"))


def write_python_environment(folder: Path, models: Path) -> Path:
    """Write a virtual environment for Python models, and return its `bin`, which goes first on PATH.

    It has this environment's packages, and imports from below `models` without cached bytecode. Triton's
    Python processes ignore Python's variables and arguments, so that an environment's start-up files are the
    only way to configure them before they import the model.
    """
    binaries = folder / "bin"
    packages = folder / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    for created in (binaries, packages):
        created.mkdir(parents=True)
    (binaries / "python3").symlink_to(sys.executable)
    (folder / "pyvenv.cfg").write_text(
        f"home = {Path(sys.base_prefix) / 'bin'}\ninclude-system-site-packages = false\n"
    )
    imports = "deepfake_triton.serving.process.uncached_imports"
    site_packages = [
        *site.getsitepackages(),
        *([site.getusersitepackages()] if site.ENABLE_USER_SITE else []),
    ]
    lines = [f"import site; site.addsitedir({path!r})" for path in site_packages]
    lines.append(f"import {imports}; {imports}.import_source_only({str(models)!r})")
    (packages / "deepfake_triton_models.pth").write_text("".join(f"{line}\n" for line in lines))
    return binaries


def find_installation() -> Installation:
    """Locate the wheel without importing it.

    Raises MissingDependency where it is not installed for this platform, or where numpy 2 is.
    """
    spec = importlib.util.find_spec("pytriton")
    for location in (spec.submodule_search_locations or []) if spec else []:
        package = Path(location)
        found = Installation(package / "tritonserver", package.parent / "nvidia_pytriton.libs")
        if found.executable.is_file():
            _require_numpy_1()
            return found
    raise MissingDependency(f"Triton is not installed: {_INSTALL}")


def _require_numpy_1() -> None:
    found = metadata.version("numpy")
    if int(found.partition(".")[0]) >= 2:
        raise MissingDependency(
            f"numpy {found} is installed, with which the Python steps of the embedded Triton 2.51 get empty "
            f"tensors; in an environment of its own, where this brings numpy 1: {_INSTALL}"
        )

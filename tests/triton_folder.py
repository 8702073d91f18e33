"""A folder as NVIDIA's container has it in /opt/tritonserver, made of the wheel's files."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from deepfake_triton.serving.installation.find import find_installation


def container_layout(folder: Path, *, copies: bool = False) -> Path:
    """Write bin, lib and backends into a new folder: Triton 2.51 and its Python backend, with its stub beside
    it, and the project's ONNX Runtime backend in place of the one in C++. Links, or `copies` that other roots
    can be given."""
    wheel = find_installation()
    folder.mkdir()
    wheel.backend_folder(folder / "backends")
    (folder / "bin").mkdir()
    if copies:
        shutil.copy2(wheel.executable, folder / "bin")
        shutil.copytree(wheel.libraries, folder / "lib")
    else:
        (folder / "bin" / "tritonserver").symlink_to(wheel.executable)
        (folder / "lib").symlink_to(wheel.libraries)
    (folder / "TRITON_VERSION").write_text("2.51.0\n")
    return folder


PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
OTHER_PYTHON = "3.12" if PYTHON != "3.12" else "3.11"


def stub_of_another_python() -> Path:
    """The wheel's stub for a Python that does not run here."""
    return find_installation().folder / "python_backend_stubs" / OTHER_PYTHON / "triton_python_backend_stub"

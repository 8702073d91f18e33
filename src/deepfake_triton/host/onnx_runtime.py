"""Import ONNX Runtime, of which several builds may be installed that own the same files."""

from __future__ import annotations

from importlib import import_module, metadata
from types import ModuleType

from deepfake_triton.errors import MissingDependency

_BUILDS = {
    "onnxruntime": "'deepfake-triton[cpu]'",
    "onnxruntime-openvino": "'deepfake-triton[openvino]'",
    "onnxruntime-gpu": "'deepfake-triton[gpu]'",
}


def import_onnx_runtime() -> ModuleType:
    """Import the module `onnxruntime`. Raises MissingDependency if it is missing or incomplete."""
    installed = installed_builds()
    try:
        module = import_module("onnxruntime")
    except ImportError as error:
        if not installed:
            raise MissingDependency(
                "ONNX Runtime is not installed: pip install 'deepfake-triton[cpu]' or, for OpenVINO, "
                "'deepfake-triton[openvino]' or, for an NVIDIA GPU, 'deepfake-triton[gpu]'"
            ) from error
        raise MissingDependency(_describe_broken(installed, str(error))) from error
    if not hasattr(module, "InferenceSession"):  # a folder whose files were removed with another build
        raise MissingDependency(_describe_broken(installed or ["onnxruntime"], "its files are gone"))
    return module


def conflicting_builds_warning() -> str | None:
    """Return a warning if more than one build is installed, which overwrite each other's files."""
    installed = installed_builds()
    if len(installed) < 2:
        return None
    named = " and ".join(f"{name} {metadata.version(name)}" for name in installed)
    choices = " or ".join(f"pip install {_BUILDS[name]}" for name in reversed(installed))
    return (
        f"{named} are both installed and own the same files: what runs is whichever came last, and OpenVINO "
        f"may be missing; keep one: pip uninstall -y {' '.join(installed)}, then {choices}"
    )


def installed_builds() -> list[str]:
    """Return the distribution names of the installed builds."""
    found = []
    for name in _BUILDS:
        try:
            metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
        found.append(name)
    return found


def _describe_broken(installed: list[str], reason: str) -> str:
    return (
        f"ONNX Runtime is installed ({' '.join(installed)}) but cannot be imported: {reason}; another build "
        "that was removed took its files along, or this one does not fit here: pip install --force-reinstall "
        f"--no-deps {installed[-1]}"
    )

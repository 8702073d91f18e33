"""Find the Triton that `serve` starts."""

from __future__ import annotations

from pathlib import Path

from deepfake_triton.errors import MissingDependency
from deepfake_triton.serving.installation.base import Installation
from deepfake_triton.serving.installation.folder import CONTAINER_FOLDER, triton_in
from deepfake_triton.serving.installation.wheel import INSTALL, find_wheel


def find_installation(folder: Path | None = None) -> Installation:
    """Return the Triton in `folder`; without one, the wheel's, or else the one of NVIDIA's container.

    Raises MissingDependency where there is none, or numpy 2 beside the wheel's, and InvalidInstallation for a
    folder without a usable one.
    """
    if folder is not None:
        return triton_in(folder)
    if wheel := find_wheel():
        return wheel
    if CONTAINER_FOLDER.is_dir():
        return triton_in(CONTAINER_FOLDER)
    raise MissingDependency(
        f"Triton is not installed: {INSTALL}; or name the folder of another with --triton"
    )

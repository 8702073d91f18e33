"""A Triton in a folder, as NVIDIA's container has it in /opt/tritonserver, with its own backends."""

from __future__ import annotations

import functools
import os
import re
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from deepfake_triton.errors import InvalidInstallation
from deepfake_triton.host.cuda import gpu_count
from deepfake_triton.serving.installation.base import PLAIN_PATH, Installation, gpu_by_onnx_runtime
from deepfake_triton.serving.installation.python_environment import PYTHON_VERSION

CONTAINER_FOLDER = Path("/opt/tritonserver")
HELP_TIMEOUT_S = 60.0
_LAYOUT = f"bin/tritonserver and backends/, as {CONTAINER_FOLDER} in NVIDIA's container has"
_PYTHON_LIBRARY = re.compile(rb"libpython(\d+\.\d+)\.so")
_OPTION = re.compile(r"^\s*(--[a-z0-9-]+)", re.MULTILINE)
_DISPENSABLE = {
    "--grpc-infer-allocation-pool-size",
    "--grpc-max-connection-age",
    "--grpc-max-connection-age-grace",
    "--http-max-input-size",  # older versions take inputs of any size
}
"""Options that a version may lack: none of them closes anything."""


@dataclass(frozen=True)
class TritonFolder(Installation):
    """A Triton that is installed in a folder."""

    @property
    def name(self) -> str:
        """Name, with the version where the folder records one."""
        try:
            return f"Triton {(self.folder / 'TRITON_VERSION').read_text().strip()}"
        except OSError:
            return f"Triton in {self.folder}"

    def backend_folder(self, scratch: Path) -> Path:  # noqa: ARG002 - it needs no folder of ours
        """Its own backends, used as they are."""
        return self.folder / "backends"

    def serves_on_gpu(self) -> bool:
        """Whether there is a GPU; one that is in Python needs this environment's ONNX Runtime for it."""
        return gpu_by_onnx_runtime() if "onnxruntime" in self.python_backends() else gpu_count() > 0

    def python_backends(self) -> tuple[str, ...]:
        """Triton's own, and `onnxruntime` where it is in Python."""
        is_python = (self.folder / "backends" / "onnxruntime" / "model.py").is_file()
        return ("python", "onnxruntime") if is_python else ("python",)

    def accepted(self, arguments: Iterable[str]) -> list[str]:
        """The arguments that this version has options for. Raises InvalidInstallation."""
        known, kept = self._options, []
        for argument in arguments:
            option = argument.partition("=")[0]
            if option in known:
                kept.append(argument)
            elif option not in _DISPENSABLE:
                raise InvalidInstallation(
                    f"{self.name} has no option {option}, which serve depends on; expected release 2.51 "
                    "(container 24.10) or newer"
                )
        return kept

    @functools.cached_property
    def _options(self) -> frozenset[str]:
        """The options that its help lists. Raises InvalidInstallation where it cannot be started."""
        try:
            done = subprocess.run(
                [self.executable, "--help"],
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=HELP_TIMEOUT_S,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise InvalidInstallation(f"{self.executable} cannot be started: {error}") from error
        text = done.stdout + done.stderr
        options = frozenset(_OPTION.findall(text))
        if "--model-repository" not in options:
            said = next((line for line in text.splitlines() if line.strip()), "it says nothing")
            raise InvalidInstallation(
                f"{self.executable} --help lists no options of a tritonserver "
                f"(status {done.returncode}): {said}"
            )
        return options


def triton_in(folder: Path) -> TritonFolder:
    """Return the Triton in a folder. Raises InvalidInstallation where it is none that can run our steps."""
    folder = folder.absolute()
    if not folder.is_dir():
        raise InvalidInstallation(f"--triton {folder}: no such folder; expected one with {_LAYOUT}, or auto")
    found = TritonFolder(folder, folder / "lib")
    python = folder / "backends" / "python"
    stub = python / "triton_python_backend_stub"
    for needed in (found.executable, python / "libtriton_python.so", stub):
        if not needed.is_file():
            place = needed.relative_to(folder)
            raise InvalidInstallation(
                f"--triton {folder}: it has no {place}; expected a folder with {_LAYOUT}"
            )
    for program in (found.executable, stub):
        if not os.access(program, os.X_OK):
            raise InvalidInstallation(f"{program} is no program that this user may run")
    if not PLAIN_PATH.fullmatch(str(folder)):
        raise InvalidInstallation(
            f"--triton {folder}: Triton starts its Python steps through a shell; expected a path of letters, "
            "digits, _ . / and - only"
        )
    _require_this_python(stub)
    return found


def _require_this_python(stub: Path) -> None:
    """Raise InvalidInstallation where the stub runs another Python, which cannot load our packages."""
    versions = {version.decode() for version in _PYTHON_LIBRARY.findall(stub.read_bytes())}
    if versions and PYTHON_VERSION not in versions:
        wanted = ", ".join(sorted(versions))
        raise InvalidInstallation(
            f"{stub} runs Python {wanted}, this is Python {PYTHON_VERSION}: install deepfake-triton for "
            f"Python {wanted}, and run it with that"
        )

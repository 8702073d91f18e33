"""The machine and software that a benchmark ran on: without it, a figure says nothing."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

from deepfake_triton import __version__
from deepfake_triton.benchmarks.measure.gpu_usage import gpu_name
from deepfake_triton.json_object import JsonObject

_PACKAGES = (
    "numpy",
    "openvino",
    "torch",
    "nvidia-pytriton",
    "tritonclient",
)
_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8", "amx_bf16")


@dataclass(frozen=True)
class Environment:
    """CPU, cores, GPU, versions and commit, and the machine's load before anything was measured."""

    cpu: str
    cores: int
    instructions: tuple[str, ...]
    memory_gib: float
    load_average: tuple[float, ...]
    system: str
    python: str
    versions: Mapping[str, str]
    commit: str | None
    time: str | None = None
    """ISO 8601, in UTC."""
    gpu: str | None = None
    """Name, memory and driver of the first GPU."""

    @property
    def summary(self) -> str:
        """The environment in one sentence."""
        instructions = ", ".join(self.instructions) or "none of note"
        versions = ", ".join(f"{key} {value}" for key, value in self.versions.items())
        return (
            f"Measured on {self.cpu}, {self.cores} cores ({instructions}), "
            f"{f'{self.gpu}, ' if self.gpu else ''}load {self.load_average[0]}, "
            f"commit {self.commit}, {versions}."
        )

    def to_json(self) -> JsonObject:
        """Return the JSON form."""
        return {
            "cpu": self.cpu,
            "cores": self.cores,
            "instructions": list(self.instructions),
            "memory_gib": self.memory_gib,
            "load_average": list(self.load_average),
            "system": self.system,
            "python": self.python,
            "versions": dict(self.versions),
            "commit": self.commit,
            **({"time": self.time} if self.time else {}),
            **({"gpu": self.gpu} if self.gpu else {}),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Environment:
        """Read the JSON form; the oldest results have no `time`, and those of a CPU no `gpu`."""
        return cls(
            cpu=data["cpu"],
            cores=data["cores"],
            instructions=tuple(data["instructions"]),
            memory_gib=data["memory_gib"],
            load_average=tuple(data["load_average"]),
            system=data["system"],
            python=data["python"],
            versions=data["versions"],
            commit=data["commit"],
            time=data.get("time"),
            gpu=data.get("gpu"),
        )


def read_environment() -> Environment:
    """Describe this machine, as it is now."""
    cpu = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    model = next(
        (line.partition(":")[2].strip() for line in cpu.splitlines() if "model name" in line), "unknown"
    )
    flags = next((line.split() for line in cpu.splitlines() if line.startswith("flags")), [])
    return Environment(
        cpu=model,
        cores=len(os.sched_getaffinity(0)),
        instructions=tuple(flag for flag in _FLAGS if flag in flags),
        memory_gib=round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        load_average=tuple(round(value, 2) for value in os.getloadavg()),
        system=platform.platform(),
        python=platform.python_version(),
        versions={"deepfake-triton": __version__, **_installed_versions()},
        commit=_commit(),
        time=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        gpu=gpu_name(),
    )


def _installed_versions() -> dict[str, str]:
    versions = {}
    for name in _PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {**versions, **_onnx_runtime_version()}


def _onnx_runtime_version() -> dict[str, str]:
    """Return the build of ONNX Runtime that runs: several may be known to pip, and own the same files."""
    try:
        from onnxruntime.capi import build_and_package_info as build
    except ImportError:
        return {}
    return {build.package_name: build.__version__}


def _commit() -> str | None:
    """Return the checkout's commit, with a + where a tracked file was changed; None outside of one."""
    folder = Path(__file__).resolve().parent
    try:
        head = _git(folder, "rev-parse", "--short=12", "HEAD")
        return head + ("+" if _git(folder, "status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()

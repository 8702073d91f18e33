"""What nvidia-smi says, by a program of that name in PATH."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from deepfake_triton.benchmarks.measure.gpu_usage import GpuSummary, GpuUsage, gpu_name

pytestmark = pytest.mark.fast


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder in PATH but for the system's shell."""
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def write_nvidia_smi(folder: Path, body: str) -> None:
    path = folder / "nvidia-smi"
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)


def measured(folder: Path) -> GpuSummary | None:
    """A summary of what was printed up to a mark that the program leaves."""
    deadline = time.monotonic() + 20
    with GpuUsage() as usage:
        while not (folder / "printed").exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)
    return usage.summary


@pytest.mark.usefixtures("programs")
def test_without_nvidia_smi_there_is_no_gpu() -> None:
    assert gpu_name() is None
    with GpuUsage() as usage:
        pass
    assert usage.summary is None


def test_a_driver_that_finds_no_gpu_is_none(programs: Path) -> None:
    write_nvidia_smi(programs, f'echo "No devices were found"; : > {programs}/printed; exit 6')
    assert gpu_name() is None and measured(programs) is None


def test_name_memory_and_driver_are_read(programs: Path) -> None:
    write_nvidia_smi(programs, 'echo "NVIDIA L4, 23034, 580.159.04"')
    assert gpu_name() == "NVIDIA L4, 23034 MiB, driver 580.159.04"


def test_rows_are_summarized_until_the_end_and_those_that_are_no_numbers_left_out(programs: Path) -> None:
    rows = ["10, 1000, 100.5", "30, 1400, 300.5", "[N/A], 1500, 1", "90, 1200, 200.5", "4, "]
    printed = "\n".join(f'echo "{row}"' for row in rows)
    write_nvidia_smi(programs, f"{printed}\n: > {programs}/printed\nexec /bin/sleep 60")
    began = time.monotonic()
    assert measured(programs) == GpuSummary(30.0, 1400.0, 200.5)
    assert time.monotonic() - began < 30, "it is ended with the context"

"""What a GPU did during a measurement, by nvidia-smi."""

from __future__ import annotations

import statistics
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from types import TracebackType

from deepfake_triton.json_object import JsonObject

_QUERY = ("nvidia-smi", "--format=csv,noheader,nounits", "--id=0")
_INTERVAL_MS = 250


@dataclass(frozen=True)
class GpuSummary:
    """Medians of the share of time with a kernel running and of the power, and the most memory held."""

    busy_percent: float
    memory_mib: float
    power_watts: float

    def to_json(self) -> JsonObject:
        """Return the JSON form."""
        return asdict(self)

    @classmethod
    def from_rows(cls, rows: Sequence[Sequence[float]]) -> GpuSummary | None:
        """Summarize rows of busy percent, MiB and watts; None without one."""
        if not rows:
            return None
        busy, memory, power = zip(*rows, strict=True)
        return cls(round(statistics.median(busy), 1), max(memory), round(statistics.median(power), 1))


def gpu_name() -> str | None:
    """Return name, memory and driver of the first GPU, such as `NVIDIA L4, 23034 MiB, driver 580.1`; None
    without one."""
    try:
        done = subprocess.run(
            [*_QUERY, "--query-gpu=name,memory.total,driver_version"],
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    values = done.stdout.strip().split(", ")
    return "{}, {} MiB, driver {}".format(*values) if len(values) == 3 else None


class GpuUsage:
    """Measures the first GPU while the context is open; `summary` is None where there is none."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self.summary: GpuSummary | None = None

    def __enter__(self) -> GpuUsage:
        query = "--query-gpu=utilization.gpu,memory.used,power.draw"
        try:
            self._process = subprocess.Popen(
                [*_QUERY, query, f"--loop-ms={_INTERVAL_MS}"],
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
        except OSError:
            self._process = None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is None:
            return
        self._process.terminate()
        rows = [_numbers(line) for line in self._process.communicate()[0].splitlines()]
        self.summary = GpuSummary.from_rows([row for row in rows if len(row) == 3])


def _numbers(line: str) -> list[float]:
    try:
        return [float(part) for part in line.split(",")]
    except ValueError:  # a value that this card does not tell
        return []

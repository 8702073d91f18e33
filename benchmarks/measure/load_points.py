"""Points of a load measurement: what was sent, what was answered, and what it took."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from deepfake_triton.benchmarks.measure.gpu_usage import GpuSummary
from deepfake_triton.benchmarks.measure.timing import Percentiles
from deepfake_triton.json_object import JsonObject


@dataclass(frozen=True)
class Usage:
    """CPU seconds that processes took over a measurement, and their memory at its end."""

    cpu_s: float
    memory_mib: float

    def to_json(self) -> dict[str, float]:
        """Return the JSON form."""
        return {"cpu_s": self.cpu_s, "memory_mib": self.memory_mib}


@dataclass(frozen=True)
class ClosedLoopPoint:
    """Callers who send their next request once the last one is answered."""

    callers: int
    clips_per_second: float
    latency: Percentiles | None
    refused: int
    batches: Mapping[str, Mapping[int, int]]
    """Executions by batch size, for each network."""
    usage: Mapping[str, Usage]
    """Usage of the `client`, and of the `server` where its process is known."""
    samples_ms: tuple[float, ...]
    warm_up_ms: tuple[float, ...]
    gpu: GpuSummary | None = None

    def to_json(self) -> JsonObject:
        """Return the JSON form."""
        return {
            "callers": self.callers,
            "throughput_a_second": self.clips_per_second,
            **(self.latency.to_json() if self.latency else {}),
            "refused": self.refused,
            "batches": {
                name: {str(size): count for size, count in sizes.items()}
                for name, sizes in self.batches.items()
            },
            "usage": {name: usage.to_json() for name, usage in self.usage.items()},
            **({"gpu": self.gpu.to_json()} if self.gpu else {}),
            "samples_ms": list(self.samples_ms),
            "warm_up_ms": list(self.warm_up_ms),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ClosedLoopPoint:
        """Read the JSON form."""
        return cls(
            callers=data["callers"],
            clips_per_second=data["throughput_a_second"],
            latency=Percentiles.from_json(data),
            refused=data["refused"],
            batches={
                name: {int(size): count for size, count in sizes.items()}
                for name, sizes in data["batches"].items()
            },
            usage={name: Usage(**usage) for name, usage in data["usage"].items()},
            samples_ms=tuple(data["samples_ms"]),
            warm_up_ms=tuple(data["warm_up_ms"]),
            gpu=GpuSummary(**data["gpu"]) if "gpu" in data else None,
        )


@dataclass(frozen=True)
class OpenLoopPoint:
    """Requests at a steady rate, whether or not others wait."""

    requests_per_second: float
    answers_per_second: float
    latency: Percentiles | None
    outcomes: Mapping[str, int]
    """Number of requests by outcome: `answered`, or the name of the error."""
    samples_ms: tuple[float, ...]

    def to_json(self) -> JsonObject:
        """Return the JSON form."""
        return {
            "rate_a_second": self.requests_per_second,
            "goodput_a_second": self.answers_per_second,
            **(self.latency.to_json() if self.latency else {}),
            "outcomes": dict(self.outcomes),
            "samples_ms": list(self.samples_ms),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> OpenLoopPoint:
        """Read the JSON form."""
        return cls(
            requests_per_second=data["rate_a_second"],
            answers_per_second=data["goodput_a_second"],
            latency=Percentiles.from_json(data),
            outcomes=data["outcomes"],
            samples_ms=tuple(data["samples_ms"]),
        )

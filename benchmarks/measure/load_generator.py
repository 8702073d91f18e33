"""Load on a server: callers at once (closed loop), and requests at a rate (open loop)."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import psutil

from deepfake_triton.benchmarks.measure.timing import Percentiles, round_values
from deepfake_triton.benchmarks.measure.triton_statistics import TritonStatistics
from deepfake_triton.client import DeepfakeClient, FrameBatch, RetryPolicy, Transport
from deepfake_triton.contracts import deepfake_detector
from deepfake_triton.errors import DeepfakeError
from deepfake_triton.json_object import JsonObject
from deepfake_triton.models.stages import MODEL_NAMES

_BACKOFF_S = 0.05
_MAX_THREADS = 256


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


class _UsageMeter:
    """Measures this process, and a server with its children, between `start` and `read`."""

    def __init__(self, server_pid: int | None) -> None:
        self._processes = {"client": [psutil.Process()]}
        if server_pid is not None:
            server = psutil.Process(server_pid)
            self._processes["server"] = [server, *server.children(recursive=True)]
        self._cpu_s = {name: _cpu_s(family) for name, family in self._processes.items()}

    def read(self) -> dict[str, Usage]:
        """Return the usage since the meter was made."""
        return {
            name: Usage(
                cpu_s=round(_cpu_s(family) - self._cpu_s[name], 2),
                memory_mib=round(sum(process.memory_info().rss for process in family) / 2**20, 1),
            )
            for name, family in self._processes.items()
        }


def _cpu_s(family: list[psutil.Process]) -> float:
    times = [process.cpu_times() for process in family]
    return float(sum(spent.user + spent.system for spent in times))


def closed_loop(
    url: str, clip: FrameBatch, *, callers: int, seconds: float, transport: Transport, server_pid: int | None
) -> ClosedLoopPoint:
    """Send clips for `seconds`, after a third of that as warm-up.

    A runtime prepares itself for each batch size when it first meets it.
    """
    ensemble = deepfake_detector().name
    with (
        TritonStatistics(url) as statistics,
        DeepfakeClient(url, transport=transport, retry=RetryPolicy(attempts=1)) as client,
    ):
        start = statistics.now()
        warm_up_ms, _, _ = _send_back_to_back(client, clip, callers, seconds=seconds / 3)
        statistics.since(start, ensemble, len(warm_up_ms))
        before = statistics.now()
        meter = _UsageMeter(server_pid)
        latencies_ms, refused, elapsed_s = _send_back_to_back(client, clip, callers, seconds=seconds)
        usage = meter.read()
        increase = statistics.since(before, ensemble, len(latencies_ms))
    return ClosedLoopPoint(
        callers=callers,
        clips_per_second=round(len(latencies_ms) / elapsed_s, 3),
        latency=Percentiles.from_values(latencies_ms),
        refused=refused,
        batches={name: increase[name].executions for name in MODEL_NAMES},
        usage=usage,
        samples_ms=round_values(latencies_ms, 2),
        warm_up_ms=round_values(warm_up_ms, 2),
    )


def _send_back_to_back(
    client: DeepfakeClient, clip: FrameBatch, callers: int, *, seconds: float
) -> tuple[list[float], int, float]:
    """Return the latencies in ms, the number of refusals, and the seconds until all callers were done."""
    latencies_ms: list[float] = []
    refused = 0
    lock = threading.Lock()
    began = time.monotonic()

    def call() -> None:
        nonlocal refused
        while time.monotonic() < began + seconds:
            sent = time.perf_counter()
            try:
                client.faces(clip)
            except DeepfakeError:
                with lock:
                    refused += 1
                time.sleep(_BACKOFF_S)
                continue
            with lock:
                latencies_ms.append(1000 * (time.perf_counter() - sent))

    with ThreadPoolExecutor(callers) as pool:
        for job in [pool.submit(call) for _ in range(callers)]:
            job.result()
    return latencies_ms, refused, time.monotonic() - began


def open_loop(
    url: str,
    clip: FrameBatch,
    *,
    requests_per_second: float,
    seconds: float,
    transport: Transport,
    timeout_s: float,
) -> OpenLoopPoint:
    """Send clips at a steady rate; each is answered, refused, or given up after `timeout_s`."""
    count = max(1, round(requests_per_second * seconds))
    outcomes: Counter[str] = Counter()
    latencies_ms: list[float] = []
    lock = threading.Lock()
    with DeepfakeClient(
        url, transport=transport, timeout_s=timeout_s, retry=RetryPolicy(attempts=1)
    ) as client:
        client.faces(clip)
        start = time.monotonic() + 0.2

        def call(number: int) -> None:
            due = start + number / requests_per_second
            time.sleep(max(0.0, due - time.monotonic()))
            try:
                client.faces(clip)
                outcome = "answered"
            except DeepfakeError as error:
                outcome = type(error).__name__
            with lock:
                outcomes[outcome] += 1
                if outcome == "answered":
                    latencies_ms.append(1000 * (time.monotonic() - due))

        with ThreadPoolExecutor(min(count, _MAX_THREADS)) as pool:
            for job in [pool.submit(call, number) for number in range(count)]:
                job.result()
        elapsed_s = time.monotonic() - start
    return OpenLoopPoint(
        requests_per_second=round(requests_per_second, 3),
        answers_per_second=round(len(latencies_ms) / elapsed_s, 3),
        latency=Percentiles.from_values(latencies_ms),
        outcomes=dict(outcomes),
        samples_ms=round_values(latencies_ms, 2),
    )

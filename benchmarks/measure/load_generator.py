"""Load on a server: callers at once (closed loop), and requests at a rate (open loop)."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Protocol

import psutil

from deepfake_triton.benchmarks.measure.back_to_back import Answers, send_back_to_back
from deepfake_triton.benchmarks.measure.client_processes import client_processes
from deepfake_triton.benchmarks.measure.gpu_usage import GpuUsage
from deepfake_triton.benchmarks.measure.load_points import ClosedLoopPoint, OpenLoopPoint, Usage
from deepfake_triton.benchmarks.measure.timing import Percentiles, round_values
from deepfake_triton.benchmarks.measure.triton_statistics import TritonStatistics
from deepfake_triton.client import DeepfakeClient, FrameBatch, RetryPolicy, Transport
from deepfake_triton.contracts import deepfake_detector
from deepfake_triton.errors import DeepfakeError
from deepfake_triton.models.stages import MODEL_NAMES

_MAX_THREADS = 256


class UsageMeter:
    """Measures this process and other clients, and a server with its children, until `read`."""

    def __init__(self, server_pid: int | None, client_pids: Sequence[int] = ()) -> None:
        self._processes = {"client": [psutil.Process(), *map(psutil.Process, client_pids)]}
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
    url: str,
    clip: FrameBatch,
    *,
    callers: int,
    seconds: float,
    transport: Transport,
    server_pid: int | None,
    processes: int = 1,
) -> ClosedLoopPoint:
    """Send clips for `seconds`, after a third of that as warm-up.

    A runtime prepares itself for each batch size when it first meets it. With several `processes`, callers
    are spread over them, and over threads in each.
    """
    ensemble = deepfake_detector().name
    with TritonStatistics(url) as statistics, _callers(url, clip, transport, processes=processes) as sending:
        start = statistics.now()
        warm_up = sending.send(callers, seconds=seconds / 3)
        statistics.since(start, ensemble, len(warm_up.latencies_ms))
        before = statistics.now()
        meter = UsageMeter(server_pid, sending.pids)
        with GpuUsage() as gpu:
            answers = sending.send(callers, seconds=seconds)
        usage = meter.read()
        increase = statistics.since(before, ensemble, len(answers.latencies_ms))
    return ClosedLoopPoint(
        callers=callers,
        clips_per_second=round(len(answers.latencies_ms) / answers.elapsed_s, 3),
        latency=Percentiles.from_values(answers.latencies_ms),
        refused=answers.refused,
        batches={name: increase[name].executions for name in MODEL_NAMES},
        usage=usage,
        samples_ms=round_values(answers.latencies_ms, 2),
        warm_up_ms=round_values(warm_up.latencies_ms, 2),
        gpu=gpu.summary,
    )


class _Callers(Protocol):
    """Callers in this process or in others."""

    @property
    def pids(self) -> list[int]: ...

    def send(self, callers: int, *, seconds: float) -> Answers: ...


class _Threads:
    """Callers that are threads of this process."""

    def __init__(self, client: DeepfakeClient, clip: FrameBatch) -> None:
        self._client, self._clip = client, clip
        self.pids: list[int] = []

    def send(self, callers: int, *, seconds: float) -> Answers:
        return send_back_to_back(lambda: self._client.faces(self._clip), callers, seconds=seconds)


@contextmanager
def _callers(url: str, clip: FrameBatch, transport: Transport, *, processes: int) -> Iterator[_Callers]:
    if processes > 1:
        with client_processes(url, clip, transport=transport, processes=processes) as others:
            yield others
        return
    with DeepfakeClient(url, transport=transport, retry=RetryPolicy(attempts=1)) as client:
        yield _Threads(client, clip)


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

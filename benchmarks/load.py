"""Latency and throughput under load: callers at once, and requests that come whether or not others wait."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psutil

from deepfake_triton.benchmarks.samples import percentiles
from deepfake_triton.benchmarks.triton_work import TritonWork
from deepfake_triton.client import DeepfakeClient, FrameBatch, RetryPolicy, Transport
from deepfake_triton.contracts import deepfake_detector
from deepfake_triton.errors import DeepfakeError

_BACK_OFF_S = 0.05
_BATCHED = ("face_detector", "feature_extractor", "sequence_classifier")


class Usage:
    """CPU seconds and memory of this process, and of a server with its children, while it is open."""

    def __init__(self, server_pid: int | None) -> None:
        self._processes = {"client": [psutil.Process()]}
        if server_pid is not None:
            server = psutil.Process(server_pid)
            self._processes["server"] = [server, *server.children(recursive=True)]

    def __enter__(self) -> Usage:
        self._cpu = {name: _cpu_s(family) for name, family in self._processes.items()}
        return self

    def __exit__(self, *exception: object) -> None:
        self.result = {
            name: {
                "cpu_s": round(_cpu_s(family) - self._cpu[name], 2),
                "memory_mib": round(sum(each.memory_info().rss for each in family) / 2**20, 1),
            }
            for name, family in self._processes.items()
        }


def _cpu_s(family: list[psutil.Process]) -> float:
    times = [each.cpu_times() for each in family]
    return float(sum(each.user + each.system for each in times))


def closed_loop(
    url: str, clip: FrameBatch, callers: int, seconds: float, transport: Transport, server_pid: int | None
) -> dict[str, Any]:
    """Callers who ask again as soon as they are answered.

    They do so for a third of the time before anything counts: a runtime prepares itself for each batch size
    when it first meets it.
    """
    work = TritonWork(url)
    with DeepfakeClient(url, transport=transport, retry=RetryPolicy(attempts=1)) as client:
        start = work.now()
        warm_up, _, _ = _asked(client, clip, callers, seconds / 3)
        work.since(start, deepfake_detector().name, len(warm_up))
        before = work.now()
        with Usage(server_pid) as usage:
            latencies, refused, took = _asked(client, clip, callers, seconds)
    done = work.since(before, deepfake_detector().name, len(latencies))
    work.close()
    return {
        "callers": callers,
        "throughput_a_second": round(len(latencies) / took, 3),
        **percentiles(latencies),
        "refused": refused,
        "batches": {name: {str(k): v for k, v in done[name].executions.items()} for name in _BATCHED},
        "usage": usage.result,
        "samples_ms": [round(value, 2) for value in latencies],
        "warm_up_ms": [round(value, 2) for value in warm_up],
    }


def _asked(
    client: DeepfakeClient, clip: FrameBatch, callers: int, seconds: float
) -> tuple[list[float], int, float]:
    """Latencies in ms, how many were refused, and how many seconds all took."""
    latencies: list[float] = []
    refused = [0]
    lock = threading.Lock()
    began = time.monotonic()

    def ask() -> None:
        while time.monotonic() < began + seconds:
            asked = time.perf_counter()
            try:
                client.faces(clip)
            except DeepfakeError:
                with lock:
                    refused[0] += 1
                time.sleep(_BACK_OFF_S)
                continue
            with lock:
                latencies.append(1000 * (time.perf_counter() - asked))

    with ThreadPoolExecutor(callers) as pool:
        for job in [pool.submit(ask) for _ in range(callers)]:
            job.result()
    return latencies, refused[0], time.monotonic() - began


def open_loop(
    url: str, clip: FrameBatch, rate_a_second: float, seconds: float, transport: Transport, timeout_s: float
) -> dict[str, Any]:
    """Requests at a steady rate, each answered, refused, or given up after `timeout_s`."""
    count = max(1, round(rate_a_second * seconds))
    outcomes: dict[str, int] = {}
    latencies: list[float] = []
    lock = threading.Lock()
    with DeepfakeClient(
        url, transport=transport, timeout_s=timeout_s, retry=RetryPolicy(attempts=1)
    ) as client:
        client.faces(clip)
        start = time.monotonic() + 0.2

        def ask(number: int) -> None:
            due = start + number / rate_a_second
            time.sleep(max(0.0, due - time.monotonic()))
            try:
                client.faces(clip)
                outcome = "answered"
            except DeepfakeError as error:
                outcome = type(error).__name__
            with lock:
                outcomes[outcome] = outcomes.get(outcome, 0) + 1
                if outcome == "answered":
                    latencies.append(1000 * (time.monotonic() - due))

        with ThreadPoolExecutor(min(count, 256)) as pool:
            for job in [pool.submit(ask, number) for number in range(count)]:
                job.result()
        took = time.monotonic() - start
    return {
        "rate_a_second": round(rate_a_second, 3),
        "goodput_a_second": round(len(latencies) / took, 3),
        **percentiles(latencies),
        "outcomes": outcomes,
        "samples_ms": [round(value, 2) for value in latencies],
    }


def measure_load(
    url: str,
    clip: FrameBatch,
    callers: Sequence[int],
    shares: Sequence[float],
    seconds: float,
    transport: Transport,
    server_pid: int | None,
    timeout_s: float,
) -> dict[str, Any]:
    """All numbers of `callers`, then request rates as `shares` of the highest throughput found."""
    closed = [closed_loop(url, clip, each, seconds, transport, server_pid) for each in callers]
    peak = max(each["throughput_a_second"] for each in closed)
    rates = [open_loop(url, clip, share * peak, seconds, transport, timeout_s) for share in shares]
    return {"transport": transport.value, "peak_a_second": peak, "closed_loop": closed, "open_loop": rates}

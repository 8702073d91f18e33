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

_BATCHED = ("face_detector", "feature_extractor", "sequence_classifier")


class Usage:
    """CPU seconds and memory of processes, children included, while it is open."""

    def __init__(self, pids: dict[str, int]) -> None:
        self._roots = {name: psutil.Process(pid) for name, pid in pids.items()}

    def __enter__(self) -> Usage:
        self._cpu = {name: self._cpu_s(root) for name, root in self._roots.items()}
        return self

    def __exit__(self, *exception: object) -> None:
        self.result = {
            name: {
                "cpu_s": round(self._cpu_s(root) - self._cpu[name], 2),
                "memory_mib": round(sum(each.memory_info().rss for each in _family(root)) / 2**20, 1),
            }
            for name, root in self._roots.items()
        }

    @staticmethod
    def _cpu_s(root: psutil.Process) -> float:
        times = [each.cpu_times() for each in _family(root)]
        return float(sum(each.user + each.system for each in times))


def _family(root: psutil.Process) -> list[psutil.Process]:
    return [root, *root.children(recursive=True)]


def closed_loop(
    url: str, clip: FrameBatch, callers: int, seconds: float, transport: Transport, server_pid: int | None
) -> dict[str, Any]:
    """Callers who ask again as soon as they are answered."""
    latencies: list[float] = []
    refused = [0]
    lock = threading.Lock()
    work = TritonWork(url)
    with DeepfakeClient(url, transport=transport, retry=RetryPolicy(attempts=1)) as client:
        client.faces(clip)
        before = work.now()
        pids = {"client": psutil.Process().pid, **({"server": server_pid} if server_pid else {})}

        def ask() -> None:
            while time.monotonic() < end:
                began = time.perf_counter()
                try:
                    client.faces(clip)
                except DeepfakeError:
                    with lock:
                        refused[0] += 1
                    time.sleep(0.05)
                    continue
                with lock:
                    latencies.append(1000 * (time.perf_counter() - began))

        with Usage(pids) as usage, ThreadPoolExecutor(callers) as pool:
            began, end = time.monotonic(), time.monotonic() + seconds
            for job in [pool.submit(ask) for _ in range(callers)]:
                job.result()
            took = time.monotonic() - began
    done = work.since(before, deepfake_detector().name, len(latencies))
    work.close()
    return {
        "callers": callers,
        "throughput_a_second": round(len(latencies) / took, 3),
        **percentiles(latencies),
        "refused": refused[0],
        "batches": {name: {str(k): v for k, v in done[name].executions.items()} for name in _BATCHED},
        "usage": usage.result,
        "samples_ms": [round(value, 2) for value in latencies],
    }


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

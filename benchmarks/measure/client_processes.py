"""Callers in several processes: one Python process cannot ask a fast server as quickly as it answers."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import cv2

from deepfake_triton.benchmarks.measure.back_to_back import Answers, send_back_to_back
from deepfake_triton.client import DeepfakeClient, FrameBatch, RetryPolicy, Transport

_START_S = 1.0
"""Time for all processes to take their job, before any of them begins."""


@dataclass(frozen=True)
class _Target:
    url: str
    clip: FrameBatch
    transport: Transport


class ClientProcesses:
    """A pool of processes, each with a client of its own."""

    def __init__(self, pool: ProcessPoolExecutor, processes: int) -> None:
        self._pool, self._processes = pool, processes

    @property
    def pids(self) -> list[int]:
        """Process IDs, once they have started."""
        return list(self._pool._processes)

    def send(self, callers: int, *, seconds: float) -> Answers:
        """Let `callers`, spread over the processes, send clips back to back for `seconds`."""
        counts = [len(range(number, callers, self._processes)) for number in range(self._processes)]
        begin_s = time.monotonic() + _START_S
        jobs = [self._pool.submit(_send, count, begin_s, seconds) for count in counts if count]
        return Answers.joined([job.result() for job in jobs])


@contextmanager
def client_processes(
    url: str, clip: FrameBatch, *, transport: Transport, processes: int
) -> Iterator[ClientProcesses]:
    """Start processes with connected clients; they end with the context."""
    context = multiprocessing.get_context("spawn")
    target = _Target(url, clip, transport)
    with ProcessPoolExecutor(processes, context, initializer=_connect, initargs=(target,)) as pool:
        for job in [pool.submit(time.sleep, _START_S) for _ in range(processes)]:  # one for each
            job.result()
        yield ClientProcesses(pool, processes)


_connected: tuple[DeepfakeClient, FrameBatch] | None = None
"""The client of such a process."""


def _connect(target: _Target) -> None:
    global _connected  # noqa: PLW0603 - what a process pool's initializer leaves to its jobs
    cv2.setNumThreads(1)
    client = DeepfakeClient(target.url, transport=target.transport, retry=RetryPolicy(attempts=1))
    _connected = (client, target.clip)


def _send(callers: int, begin_s: float, seconds: float) -> Answers:
    assert _connected is not None, "the initializer has run"
    time.sleep(max(0.0, begin_s - time.monotonic()))
    client, clip = _connected
    return send_back_to_back(lambda: client.faces(clip), callers, seconds=seconds)

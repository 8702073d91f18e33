"""Callers who send their next request once the last one is answered."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from deepfake_triton.errors import DeepfakeError

_BACKOFF_S = 0.05


@dataclass(frozen=True)
class Answers:
    """Latencies of the answered requests, number of refusals, and the time until all callers were done."""

    latencies_ms: Sequence[float]
    refused: int
    elapsed_s: float

    @classmethod
    def joined(cls, parts: Sequence[Answers]) -> Answers:
        """Return the answers of callers who began at the same moment."""
        return cls(
            [latency for part in parts for latency in part.latencies_ms],
            sum(part.refused for part in parts),
            max(part.elapsed_s for part in parts),
        )


def send_back_to_back(ask: Callable[[], object], callers: int, *, seconds: float) -> Answers:
    """Let `callers` threads ask a server again and again for `seconds`; a DeepfakeError counts as refusal."""
    latencies_ms: list[float] = []
    refused = 0
    lock = threading.Lock()
    began = time.monotonic()

    def call() -> None:
        nonlocal refused
        while time.monotonic() < began + seconds:
            sent = time.perf_counter()
            try:
                ask()
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
    return Answers(latencies_ms, refused, time.monotonic() - began)

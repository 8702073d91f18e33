"""What a Triton has done between two moments, by its own statistics."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from tritonclient import grpc

from deepfake_triton.contracts import served_models

_SETTLE_S, _PATIENCE_S = 0.02, 5.0


@dataclass(frozen=True)
class ModelWork:
    """Of one model: requests answered, executions by batch size, and nanoseconds in all requests together."""

    requests: int = 0
    executions: Mapping[int, int] = field(default_factory=dict)
    total_ns: int = 0
    queue_ns: int = 0
    compute_ns: int = 0

    def since(self, before: ModelWork) -> ModelWork:
        """What came after `before`."""
        sizes = Counter(self.executions)
        sizes.subtract(before.executions)
        return ModelWork(
            self.requests - before.requests,
            {size: count for size, count in sorted(sizes.items()) if count},
            self.total_ns - before.total_ns,
            self.queue_ns - before.queue_ns,
            self.compute_ns - before.compute_ns,
        )


Work = dict[str, ModelWork]


class TritonWork:
    """Reads the statistics of a server's models."""

    def __init__(self, url: str) -> None:
        self._connection = grpc.InferenceServerClient(url)

    def now(self) -> Work:
        """Since the server started."""
        found: Work = {}
        for spec in served_models():
            (stats,) = self._connection.get_inference_statistics(spec.name).model_stats[:1] or [None]
            if stats is None:
                continue
            done = stats.inference_stats
            found[spec.name] = ModelWork(
                requests=done.success.count,
                executions={each.batch_size: each.compute_infer.count for each in stats.batch_stats},
                total_ns=done.success.ns,
                queue_ns=done.queue.ns,
                compute_ns=done.compute_input.ns + done.compute_infer.ns + done.compute_output.ns,
            )
        return found

    def since(self, before: Work, model: str, requests: int) -> Work:
        """What came after `before`, once `model` has counted so many requests: it counts after it answers."""
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            work = {name: each.since(before.get(name, ModelWork())) for name, each in self.now().items()}
            if work[model].requests >= requests or time.monotonic() > deadline:
                return work
            time.sleep(_SETTLE_S)

    def close(self) -> None:
        """End the connection."""
        self._connection.close()

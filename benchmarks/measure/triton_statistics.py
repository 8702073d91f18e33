"""The statistics of a server's models between two moments, as Triton counts them."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from tritonclient import grpc

from deepfake_triton.contracts import served_models
from deepfake_triton.host.addresses import grpc_channel_options

_POLL_S, _TIMEOUT_S = 0.02, 5.0


@dataclass(frozen=True)
class ModelStatistics:
    """Counters of one model: requests answered, executions by batch size, nanoseconds over all requests."""

    requests: int = 0
    executions: Mapping[int, int] = field(default_factory=dict)
    total_ns: int = 0
    queue_ns: int = 0
    compute_ns: int = 0

    def since(self, before: ModelStatistics) -> ModelStatistics:
        """Return the increase since `before`."""
        sizes = Counter(self.executions)
        sizes.subtract(before.executions)
        return ModelStatistics(
            requests=self.requests - before.requests,
            executions={size: count for size, count in sorted(sizes.items()) if count},
            total_ns=self.total_ns - before.total_ns,
            queue_ns=self.queue_ns - before.queue_ns,
            compute_ns=self.compute_ns - before.compute_ns,
        )


ServerStatistics = Mapping[str, ModelStatistics]
"""The counters of each model by its name."""


class TritonStatistics:
    """Reads the statistics of a server's models; a context manager that closes its connection."""

    def __init__(self, url: str) -> None:
        self._connection = grpc.InferenceServerClient(url, channel_args=grpc_channel_options(url))

    def now(self) -> ServerStatistics:
        """Return the counters since the server started; older exports lack some models."""
        found: dict[str, ModelStatistics] = {}
        names = {spec.name for spec in served_models(samples_frames=True)}
        for model in self._connection.get_inference_statistics().model_stats:
            if model.name not in names:
                continue
            counters = model.inference_stats
            found[model.name] = ModelStatistics(
                requests=counters.success.count,
                executions={batch.batch_size: batch.compute_infer.count for batch in model.batch_stats},
                total_ns=counters.success.ns,
                queue_ns=counters.queue.ns,
                compute_ns=counters.compute_input.ns + counters.compute_infer.ns + counters.compute_output.ns,
            )
        return found

    def since(self, before: ServerStatistics, model: str, requests: int) -> ServerStatistics:
        """Return the increase since `before`, once `model` has counted `requests`, or after 5 s.

        Triton counts a request after it has answered it.
        """
        deadline = time.monotonic() + _TIMEOUT_S
        while True:
            increase = {
                name: counters.since(before.get(name, ModelStatistics()))
                for name, counters in self.now().items()
            }
            if increase[model].requests >= requests or time.monotonic() > deadline:
                return increase
            time.sleep(_POLL_S)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def __enter__(self) -> TritonStatistics:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

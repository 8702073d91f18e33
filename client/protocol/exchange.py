"""The protocol of one client as flows, written once for both senders: calls, retries, failover.

No flow opens a connection or waits: it yields steps (see `steps`), and a sender carries them out. Only local
shared memory is touched directly. A sender that stops waiting closes the flow; calls that are on their way go
on by themselves.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from deepfake_triton.client.protocol.endpoints import EndpointPool
from deepfake_triton.client.protocol.in_flight import RequestSlots
from deepfake_triton.client.protocol.inference import Inference
from deepfake_triton.client.protocol.options import ClientOptions
from deepfake_triton.client.protocol.region_registry import RegionRegistry
from deepfake_triton.client.protocol.request_counts import RequestCounter
from deepfake_triton.client.protocol.retry import Attempt, RetryBudget, RetryLoop
from deepfake_triton.client.protocol.served_models import ServedModels
from deepfake_triton.client.protocol.steps import Drain, Flow, Pause, Probe
from deepfake_triton.client.verdicts.verdict import ModelInfo
from deepfake_triton.client.wire.connection_options import require_seconds
from deepfake_triton.client.wire.error_mapping import closes_at_once
from deepfake_triton.client.wire.requests import ClipAnswer
from deepfake_triton.client.wire.transport import TransportSelector
from deepfake_triton.errors import ServerError, ServerUnreachable
from deepfake_triton.preprocessing.video.frame_batch import FrameBatch

Answer = TypeVar("Answer")

CLOSE_TIMEOUT_S = 5.0
"""A client that closes waits no longer for calls that are on their way."""
PROBE_TIMEOUT_S = 6.0


@dataclass(frozen=True)
class WindowAnswer:
    """The answer on one window of a video, its frames, the model that answered, and the time it took."""

    frames: FrameBatch
    clip: ClipAnswer
    model: ModelInfo
    infer_s: float


class Exchange:
    """The flows of one client. Usable from many threads and event loops."""

    def __init__(
        self,
        options: ClientOptions,
        *,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """`clock` gives seconds, `jitter` draws from 0…1."""
        self.models = ServedModels(options, clock)
        self.counter = RequestCounter()
        self.transport = TransportSelector(options.transport, options.urls, clock)
        self._options, self._clock, self._jitter = options, clock, jitter
        self._endpoints = EndpointPool(options.urls, clock)
        self._budget = RetryBudget(options.retry)
        self._slots = RequestSlots(options.urls, options.max_in_flight)
        self._regions = RegionRegistry(self.transport, options.connection)
        self._inference = Inference(
            options,
            slots=self._slots,
            regions=self._regions,
            transport=self.transport,
            models=self.models,
        )
        self._is_closed = False

    def deadline(self, timeout_s: float | None = None) -> float:
        """Return the deadline, on the clock, of a request that starts now. Raises InvalidOption."""
        limit_s = self._options.timeout_s if timeout_s is None else require_seconds("timeout_s", timeout_s)
        return self._clock() + limit_s

    def detect_faces(self, frames: FrameBatch, deadline: float) -> Flow[ClipAnswer]:
        """Return the answer on one clip. Raises ServerError."""

        def infer(attempt: Attempt) -> Flow[ClipAnswer]:
            return self._counted(attempt, self._inference.infer(attempt, frames))

        return (yield from self._with_retries(deadline, infer))

    def detect_window(
        self, frames: FrameBatch, deadline: float, operating_point: str | None = None
    ) -> Flow[WindowAnswer]:
        """Return the answer on one window of a video, with the model at an `operating_point` (None: the
        client's). Raises ServerError, and InvalidOption before a model without that point is asked."""
        began = self._clock()

        def choose(model: ModelInfo) -> ModelInfo:
            return model if operating_point is None else model.at(operating_point)

        def infer(attempt: Attempt) -> Flow[tuple[ClipAnswer, ModelInfo]]:
            model = choose((yield from self.models.model_for(attempt)))
            answer = yield from self._inference.infer(attempt, frames)
            if model.version != answer.version:  # replaced meanwhile, or one of several behind an address
                model = choose((yield from self.models.model_for(attempt, answer.version)))
            return answer, model

        answer, model = yield from self._with_retries(
            deadline, lambda attempt: self._counted(attempt, infer(attempt))
        )
        return WindowAnswer(frames, answer, model, self._clock() - began)

    def _counted(self, attempt: Attempt, inference: Flow[Answer]) -> Flow[Answer]:
        """Ask one endpoint once, and count what became of it."""
        try:
            answer = yield from inference
        except ServerError as error:
            self.counter.add(attempt.url, error)
            raise
        self.counter.add(attempt.url)
        return answer

    def read_model(self, deadline: float) -> Flow[ModelInfo]:
        """Return the model that answers. Raises ServerError."""
        return (yield from self._with_retries(deadline, self.models.model_for))

    def close(self) -> Flow[None]:
        """Retry nothing any more, wait a bounded time for calls on their way, and unregister shared
        memory."""
        self._is_closed = True
        yield Drain(CLOSE_TIMEOUT_S)
        yield from self._regions.unregister_all()

    def _with_retries(self, deadline: float, request: Callable[[Attempt], Flow[Answer]]) -> Flow[Answer]:
        """Return the answer of the first endpoint that gives one; retry and fail over on errors."""
        if self._is_closed:
            raise ServerUnreachable(f"{', '.join(self._options.urls)}: this client was closed")
        loop = self._retry_loop(deadline)
        while True:
            attempt = loop.start_attempt()
            try:
                answer = yield from request(attempt)
            except ServerError as error:
                if self._is_closed:
                    raise
                self.models.forget(attempt.url)
                delay_s = loop.delay_after((yield from self._explain(attempt, error, deadline)))
                if delay_s:
                    yield Pause(delay_s)
            else:
                loop.succeed()
                return answer

    def _retry_loop(self, deadline: float) -> RetryLoop:
        remaining_s = max(0.0, deadline - self._clock())
        return RetryLoop(
            self._endpoints,
            self._options.retry,
            self._budget,
            deadline=deadline,
            timeout_s=min(self._options.timeout_s, float(f"{remaining_s:.2g}")),  # for messages
            is_full=self._slots.is_full,
            clock=self._clock,
            jitter=self._jitter,
        )

    def _explain(self, attempt: Attempt, error: ServerError, deadline: float) -> Flow[ServerError]:
        """Return the error, or its cause at an address where no server of ours has answered yet."""
        if self._options.connection.encrypts or self._endpoints.ever_answered:
            return error
        if not isinstance(error, ServerUnreachable) or not closes_at_once(error):
            return error
        remaining_s = max(0.0, deadline - self._clock())
        found: ServerError | None = yield Probe(attempt.url, min(PROBE_TIMEOUT_S, remaining_s))
        return found or error

"""`DeepfakeClient`: servers asked over gRPC by threads that wait for the answer."""

from __future__ import annotations

import concurrent.futures
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from contextvars import copy_context
from types import TracebackType
from typing import Any, TypeVar

from deepfake_triton.client.attempts import RetryPolicy
from deepfake_triton.client.connection_options import ConnectionOptions
from deepfake_triton.client.evidence import EvidenceRule
from deepfake_triton.client.exchange import Exchange
from deepfake_triton.client.rules import (
    DEFAULT_TIMEOUT_S,
    DEFAULT_URL,
    WINDOWS_IN_FLIGHT,
    ClientRules,
    Video,
    WindowAnswer,
)
from deepfake_triton.client.steps import Flow, Pause, Wait
from deepfake_triton.client.transport import Transport
from deepfake_triton.client.verdict import FaceVerdict, ModelInfo, VideoVerdict
from deepfake_triton.contracts import JPEG_QUALITY
from deepfake_triton.preprocessing.sampling import FrameSelection
from deepfake_triton.preprocessing.video import FrameBatch

T = TypeVar("T")


class DeepfakeClient:
    """Connections to one server or several, `url` as host:port, or some of them with commas between or as a
    sequence: round-robin, and another one when one fails. Usable from many threads and as a context manager.

    `timeout_s` bounds one video, decoding and retries included. Whoever stops waiting does not take the
    request back: Triton before 2.57 may crash when requests are cancelled, so on such a server the call ends
    by itself, and its answer is dropped. `max_in_flight` bounds the requests that are on their way to each
    server, those included (None: as many as there are callers). `operating_point` names the server's
    threshold for FAKE, such as `balanced` (also the default) or `conservative`. `evidence` is what a face has
    to show to be judged. `transport` says how frames reach the server, as JPEG files of `jpeg_quality`.
    """

    def __init__(
        self,
        url: str | Sequence[str] = DEFAULT_URL,
        *,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        operating_point: str | None = None,
        retry: RetryPolicy = RetryPolicy(),  # noqa: B008 - frozen
        connection: ConnectionOptions = ConnectionOptions(),  # noqa: B008 - frozen
        max_in_flight: int | None = None,
        evidence: EvidenceRule = EvidenceRule(),  # noqa: B008 - frozen
        transport: Transport = Transport.AUTO,
        jpeg_quality: int = JPEG_QUALITY,
    ) -> None:
        """Raises ServerUnreachable for what is no address, InvalidOption for a time or a number that makes no
        sense, PermissionDenied for certificates that are not there."""
        self._rules = ClientRules(
            url,
            timeout_s=timeout_s,
            operating_point=operating_point,
            retry=retry,
            connection=connection,
            max_in_flight=max_in_flight,
            evidence=evidence,
            transport=transport,
            jpeg_quality=jpeg_quality,
        )
        self._exchange = Exchange(self._rules)
        self._finalizer = finalizer_of(self, self._exchange)

    def detect(
        self,
        video: Video,
        selection: FrameSelection | None = None,
        on_stage: Callable[[str], None] | None = None,
    ) -> VideoVerdict:
        """Decode the chosen frames of a video, ask a server, and give the verdict.

        Windows are decoded while the ones before are asked about. `on_stage` is called with "decode" and
        "infer" when that stage begins for a window. Raises InputError or ServerError.
        """
        enter = on_stage or (lambda _: None)
        judgement = self._rules.judgement(video, selection)
        asking: deque[Future[WindowAnswer]] = deque()
        with closing(judgement), self._few_threads() as (pool, stopped):
            while True:
                enter("decode")
                window = judgement.next_window()
                if window is None:
                    break
                enter("infer")
                flow = self._exchange.window(window, judgement.deadline)
                asking.append(pool.submit(copy_context().run, run_flow, flow, stopped))
                if len(asking) == WINDOWS_IN_FLIGHT:
                    judgement.add(asking.popleft().result())
            for answer in asking:
                judgement.add(answer.result())
            return judgement.verdict()

    def faces(self, frames: FrameBatch, timeout_s: float | None = None) -> tuple[FaceVerdict, ...]:
        """The faces of a clip that is decoded already, each with its probability. Raises ServerError."""
        return run_flow(self._exchange.faces(frames, self._rules.deadline(timeout_s)))

    def model(self, timeout_s: float | None = None) -> ModelInfo:
        """The model that answers, checked against the contract.

        Read again after a fault, and when what is known is older than any restart of a server takes. Raises
        ServerError, of which ContractMismatch when a server serves something else.
        """
        return run_flow(self._exchange.model(self._rules.deadline(timeout_s)))

    @property
    def known_model(self) -> ModelInfo | None:
        """The model that answered last, if one did."""
        return self._rules.models.last

    def close(self) -> None:
        """Wait a few seconds at most for requests that are on their way, take the shared memory back, and end
        the connections. May be repeated."""
        self._finalizer.detach()
        run_flow(self._exchange.close())

    def __enter__(self) -> DeepfakeClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @contextmanager
    def _few_threads(self) -> Iterator[tuple[ThreadPoolExecutor, Future[None]]]:
        """For one video, and what is done at its end; after a fault or Ctrl-C nothing more is asked, and
        nothing waited for."""
        pool, stopped = ThreadPoolExecutor(WINDOWS_IN_FLIGHT, "deepfake-windows"), Future[None]()
        try:
            yield pool, stopped
        finally:
            stopped.set_result(None)
            pool.shutdown(wait=False, cancel_futures=True)


def run_flow(flow: Flow[T], stopped: Future[None] | None = None) -> T:
    """Carry a flow out in this thread. Raises what the flow raises, and CancelledError once `stopped` is
    done."""
    with closing(flow):
        try:
            step = next(flow)
            while True:
                step = flow.send(_waited(step, stopped or Future()))
        except StopIteration as end:
            result: T = end.value
            return result


def _waited(step: Wait | Pause, stopped: Future[None]) -> bool:
    is_pause = isinstance(step, Pause)
    waiting = set() if isinstance(step, Pause) else set(step.futures)
    ends = time.monotonic() + (step.seconds if isinstance(step, Pause) else step.timeout_s)
    while (is_pause or waiting) and (left_s := ends - time.monotonic()) > 0:
        concurrent.futures.wait((*waiting, stopped), left_s, concurrent.futures.FIRST_COMPLETED)
        if stopped.done():
            raise concurrent.futures.CancelledError
        waiting = {future for future in waiting if not future.done()}
    return not waiting


def finalizer_of(client: object, exchange: Exchange) -> weakref.finalize[..., Any]:
    """Close what a client that nobody holds any more has left open, in a thread of its own: any thread may be
    the one that collects it. When the process ends, its calls are waited for, but none is started."""

    def close_in_thread() -> None:
        if os.getpid() == exchange.process_id:  # else it is the parent's
            threading.Thread(target=lambda: run_flow(exchange.close()), daemon=True).start()

    finalizer = weakref.finalize(client, close_in_thread)
    finalizer.atexit = False
    return finalizer

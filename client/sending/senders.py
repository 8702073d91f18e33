"""The two senders that carry out flows: `run_flow` in a thread, `await_flow` in an asyncio task."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future
from contextlib import closing, contextmanager
from typing import Any, TypeVar

from deepfake_triton.client.protocol.steps import Call, Drain, Flow, Pause, Probe, Step, WaitForSlot
from deepfake_triton.client.sending.calls_in_flight import CallsInFlight, wait_for_future
from deepfake_triton.client.sending.connection_pool import ConnectionPool
from deepfake_triton.client.sending.probe import probe_endpoint
from deepfake_triton.errors import ServerError

T = TypeVar("T")


def run_flow(flow: Flow[T], connections: ConnectionPool, stopped: Future[None] | None = None) -> T:
    """Carry a flow out in this thread, and return its result. Raises what the flow raises, and CancelledError
    once `stopped` is done."""
    stopped = stopped or Future()
    with closing(flow):
        try:
            step = next(flow)
            while True:
                try:
                    with _start(step, connections) as (future, timeout_s):
                        concurrent.futures.wait((future, stopped), timeout_s, FIRST_COMPLETED)
                        if stopped.done():
                            raise concurrent.futures.CancelledError
                        result = future.result() if future.done() else None
                except ServerError as error:
                    step = flow.throw(error)
                else:
                    step = flow.send(result)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]


async def await_flow(flow: Flow[T], connections: ConnectionPool, calls: CallsInFlight | None = None) -> T:
    """Carry a flow out in this task, and return its result; `calls` gets every call that it starts. Raises
    what the flow raises."""
    with closing(flow):
        try:
            step = next(flow)
            while True:
                try:
                    with _start(step, connections, calls) as (future, timeout_s):
                        await wait_for_future(future, timeout_s)
                        result = future.result() if future.done() else None
                except ServerError as error:
                    step = flow.throw(error)
                else:
                    step = flow.send(result)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]


@contextmanager
def _start(
    step: Step, connections: ConnectionPool, calls: CallsInFlight | None = None
) -> Iterator[tuple[Future[Any], float]]:
    """Start a step: its future result, and how long to wait for that. Raises ServerError."""
    match step:
        case Call():
            reply = connections.start(step)
            if calls is not None:
                calls.add(reply)
            try:
                yield reply, step.timeout_s
            finally:
                if step.cancellable and not reply.done():
                    reply.cancel_call()
        case Pause(seconds):
            yield Future(), seconds
        case WaitForSlot(slot, timeout_s):
            yield slot, timeout_s
        case Probe(url, timeout_s):
            yield probe_endpoint(url), timeout_s
        case Drain(timeout_s):
            yield connections.drained, timeout_s

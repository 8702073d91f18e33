"""Both senders carry out the same flows alike: one in a thread, one in an asyncio task; no server."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import pytest
from tritonclient.grpc import service_pb2 as pb

from deepfake_triton.client import ConnectionOptions
from deepfake_triton.client.protocol.in_flight import RequestSlots
from deepfake_triton.client.protocol.lease import Lease
from deepfake_triton.client.protocol.steps import Call, Drain, Flow, Pause, WaitForSlot, reply_to
from deepfake_triton.client.sending.connection import Reply
from deepfake_triton.client.sending.connection_pool import ConnectionPool
from deepfake_triton.client.sending.senders import await_flow, run_flow
from deepfake_triton.client.wire.shared_memory import RegionPool
from deepfake_triton.errors import DeadlineExceeded, ModelUnavailable, ServerUnreachable

pytestmark = pytest.mark.fast

URL = "127.0.0.1:1"
Sender = Callable[[Flow[Any], ConnectionPool], Any]


class ScriptedPool(ConnectionPool):
    """Starts no call, but ends each as a function says: with a reply, an error, or not at all."""

    def __init__(self, outcome: Callable[[Call], object] = lambda _: None) -> None:
        super().__init__((URL,), ConnectionOptions())
        self.calls: list[Call] = []
        self.cancelled: list[Reply] = []
        self._outcome = outcome

    def start(self, call: Call) -> Reply:
        self.calls.append(call)
        reply = Reply()
        reply.cancel_call = lambda: self.cancelled.append(reply)  # type: ignore[method-assign]
        outcome = self._outcome(call)
        if isinstance(outcome, Exception):
            reply.set_exception(outcome)
        elif outcome is not None:
            reply.set_result(outcome)
        return reply


def call(**options: Any) -> Call:
    return Call(URL, pb.ServerMetadataRequest(), options.pop("timeout_s", 5.0), **options)


def run_in_loop(flow: Flow[Any], connections: ConnectionPool) -> Any:
    return asyncio.run(await_flow(flow, connections))


@pytest.fixture(params=[run_flow, run_in_loop], ids=["sync", "async"])
def sender(request: pytest.FixtureRequest) -> Sender:
    send: Sender = request.param
    return send


def test_replies_are_sent_and_errors_thrown_into_the_flow(sender: Sender) -> None:
    reply = pb.ServerMetadataResponse(version="1")
    outcomes = iter([reply, ModelUnavailable("gone"), ServerUnreachable("no")])

    def flow() -> Flow[list[str]]:
        found = [(yield from reply_to(call())).version]
        try:
            yield call()
        except ModelUnavailable as error:
            found.append(str(error))
        yield Pause(0.001)
        yield call()
        return found

    pool = ScriptedPool(lambda _: next(outcomes))
    with pytest.raises(ServerUnreachable, match="no"):
        sender(flow(), pool)
    assert len(pool.calls) == 3


@pytest.mark.parametrize("cancellable", [False, True])
def test_a_call_without_a_reply_is_over_in_time_and_cancelled_only_where_that_is_safe(
    sender: Sender, cancellable: bool
) -> None:
    pool = ScriptedPool()
    began = time.monotonic()
    with pytest.raises(DeadlineExceeded, match=r"no answer within 0\.05 s"):
        sender(reply_to(call(timeout_s=0.05, cancellable=cancellable)), pool)
    assert 0.04 < time.monotonic() - began < 10
    assert len(pool.cancelled) == cancellable


def test_a_slot_is_waited_for_until_it_is_free_and_no_longer_than_the_deadline(sender: Sender) -> None:
    slots = RequestSlots((URL,), 1)
    slots.acquire(URL)

    def flow(timeout_s: float) -> Flow[object]:
        slot = slots.acquire(URL)
        is_granted = yield WaitForSlot(slot, timeout_s)
        if not is_granted:
            slots.abandon(URL, slot)
        return is_granted

    began = time.monotonic()
    assert sender(flow(0.05), ScriptedPool()) is None
    assert time.monotonic() - began < 10
    threading.Timer(0.02, slots.release, [URL]).start()
    assert sender(flow(5.0), ScriptedPool()) is True


def test_what_a_flow_returns_without_a_step_is_the_result(sender: Sender) -> None:
    def flow() -> Flow[int]:
        yield from ()
        return 7

    assert sender(flow(), ScriptedPool()) == 7


def test_a_closing_pool_is_drained_and_refuses_all_but_cleanup(sender: Sender) -> None:
    pool = ConnectionPool((URL,), ConnectionOptions())
    assert pool.begin_close() and not pool.begin_close()

    def flow() -> Flow[None]:
        yield Drain(60.0)
        yield call()

    began = time.monotonic()
    with pytest.raises(ServerUnreachable, match="was closed"):
        sender(flow(), pool)
    assert time.monotonic() - began < 10, "nothing is on its way"
    with pytest.raises(ServerUnreachable, match="no server answers"):
        sender(reply_to(call(cleanup=True)), pool)
    pool.close()


def test_a_call_that_cannot_start_releases_its_lease(sender: Sender) -> None:
    pool, slots = ConnectionPool((URL,), ConnectionOptions()), RequestSlots((URL,), 1)
    slots.acquire(URL)
    pool.begin_close()
    with pytest.raises(ServerUnreachable):
        sender(reply_to(call(lease=Lease(URL, slots, RegionPool()))), pool)
    assert not slots.is_full(URL)
    pool.close()


def test_a_stopped_thread_closes_its_flow() -> None:
    stopped, closed = Future[None](), []

    def flow() -> Flow[None]:
        try:
            yield Pause(60.0)
        finally:
            closed.append(True)

    threading.Timer(0.02, stopped.set_result, [None]).start()
    with pytest.raises(concurrent.futures.CancelledError):
        run_flow(flow(), ScriptedPool(), stopped)
    assert closed == [True]


def test_a_cancelled_task_closes_its_flow_and_leaves_the_call_alone() -> None:
    closed, pool = [], ScriptedPool()

    def flow() -> Flow[None]:
        try:
            yield call(timeout_s=60.0)
        finally:
            closed.append(True)

    async def cancel() -> None:
        task = asyncio.create_task(await_flow(flow(), pool))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancel())
    assert closed == [True] and not pool.cancelled

"""The protocol of one client, written once for both senders: which calls are made, in which order, and what
becomes of their places and their shared memory. Nothing here waits.

A flow is a generator that yields what to wait for. The sender decides how it waits; when it stops in between,
the flow is closed, and calls that are on their way go on by themselves.
"""

from __future__ import annotations

import atexit
import concurrent.futures
import os
import time
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from tritonclient.grpc import service_pb2 as pb

from deepfake_triton.client.attempts import Turn
from deepfake_triton.client.calls import Calls
from deepfake_triton.client.connection import Call, cancels_safely
from deepfake_triton.client.hold import Hold
from deepfake_triton.client.lending import Lending
from deepfake_triton.client.places import Places
from deepfake_triton.client.probe import PROBE_TIMEOUT_S, closes_at_once, what_answers
from deepfake_triton.client.requests import ENSEMBLE, answer_of, model_info
from deepfake_triton.client.rules import ClientRules, WindowAnswer
from deepfake_triton.client.steps import Flow, Pause, Wait
from deepfake_triton.client.verdict import FaceVerdict, ModelInfo
from deepfake_triton.errors import DeadlineExceeded, ServerError, ServerUnreachable, SharedMemoryLost
from deepfake_triton.preprocessing.video import FrameBatch

Answer = TypeVar("Answer")

GIVE_UP_S = 60.0
"""A call that nobody waits for any more, to a server that must not be asked to cancel it, is given up after
so long."""
CLOSE_TIMEOUT_S = 5.0
"""A client that closes waits no longer for calls that are on their way."""


_OPEN: weakref.WeakSet[Exchange] = weakref.WeakSet()
os.register_at_fork(after_in_child=_OPEN.clear)


@atexit.register
def _wait_at_exit() -> None:
    """Let the calls of clients that nobody closed come to an end; a process that ends starts no others."""
    replies = [reply for exchange in list(_OPEN) for reply in exchange.on_their_way()]
    concurrent.futures.wait(replies, CLOSE_TIMEOUT_S)


class Exchange:
    """The flows of one client. Usable from many threads and event loops."""

    def __init__(self, rules: ClientRules) -> None:
        """Raises PermissionDenied when a file of the certificates is not there."""
        self._rules = rules
        self._calls = Calls(rules.urls, rules.connection)
        self._places = Places(rules.urls, rules.max_in_flight)
        self._lending = Lending(self._calls, rules.transport, rules.connection)
        self._cancels: dict[str, bool] = {}
        self.process_id = os.getpid()
        _OPEN.add(self)

    def faces(self, frames: FrameBatch, deadline: float) -> Flow[tuple[FaceVerdict, ...]]:
        """The faces of one clip. Raises ServerError."""

        def ask(turn: Turn) -> Flow[tuple[FaceVerdict, ...]]:
            faces, _ = yield from self._infer(turn, frames)
            return faces

        return (yield from self._answered(deadline, ask))

    def window(self, frames: FrameBatch, deadline: float) -> Flow[WindowAnswer]:
        """The faces of one window of a video, and the model that found them. Raises ServerError."""
        began = time.monotonic()

        def ask(turn: Turn) -> Flow[tuple[tuple[FaceVerdict, ...], ModelInfo]]:
            model = yield from self._model_of(turn)
            faces, version = yield from self._infer(turn, frames)
            return faces, model if model.version == version else (yield from self._read_model(turn))

        faces, model = yield from self._answered(deadline, ask)
        return WindowAnswer(faces, model, time.monotonic() - began)

    def model(self, deadline: float) -> Flow[ModelInfo]:
        """The model that answers. Raises ServerError."""
        return (yield from self._answered(deadline, self._model_of))

    def close(self) -> Flow[None]:
        """Wait a bounded time for calls that are on their way, take the shared memory back, and end the
        connections. May be repeated."""
        if not self._calls.shut():
            return
        try:
            yield Wait(self.on_their_way(), CLOSE_TIMEOUT_S)
            yield from self._lending.take_back()
        finally:
            self._calls.close()
            _OPEN.discard(self)

    def on_their_way(self) -> tuple[Future[Any], ...]:
        """Replies that are still to come, also those that nobody waits for."""
        return self._calls.on_their_way()

    def _answered(self, deadline: float, ask: Callable[[Turn], Flow[Answer]]) -> Flow[Answer]:
        """What `ask` returns, of the first server that answers."""
        attempts = self._rules.attempts(deadline, self._places.is_full)
        while True:
            turn = attempts.next()
            try:
                answer = yield from ask(turn)
            except ServerError as error:
                if self._calls.closed:
                    raise
                self._rules.models.forget(turn.url)
                self._cancels.pop(turn.url, None)  # what comes back may be another Triton
                delay_s = attempts.failed((yield from self._explained(turn, error, deadline)))
                if delay_s:
                    yield Pause(delay_s)
            else:
                attempts.answered()
                return answer

    def _explained(self, turn: Turn, error: ServerError, deadline: float) -> Flow[ServerError]:
        """The error, or what is behind it, at an address where no server of ours has ever answered."""
        if self._rules.connection.encrypts or self._rules.ever_answered:
            return error
        if not isinstance(error, ServerUnreachable) or not closes_at_once(error):
            return error
        probe = what_answers(turn.url)
        left_s = max(0.0, deadline - time.monotonic())
        done = yield Wait((probe,), min(3 * PROBE_TIMEOUT_S, left_s))
        return (done and probe.result()) or error

    def _infer(self, turn: Turn, frames: FrameBatch) -> Flow[tuple[tuple[FaceVerdict, ...], str]]:
        """The faces, and the version of the ensemble that found them."""
        while True:
            yield from self._take_place(turn)
            hold = Hold(turn.url, self._places, self._rules.transport.pools[turn.url])
            try:
                region = hold.region = yield from self._lending.region(turn, frames.data.nbytes)
                with self._rules.request(frames, turn, region) as (request, headers):
                    reply = yield from self._inferred(turn, request, headers, hold)
                    return answer_of(reply, frames)
            except SharedMemoryLost:
                if region is None:
                    raise
                hold.pool.drop(region)
            finally:
                if not hold.is_sent:  # else the end of its call does this
                    hold.end(answered=True)

    def _inferred(self, turn: Turn, request: Message, headers: dict[str, str], hold: Hold) -> Flow[Any]:
        """The reply of the server. Raises ServerError."""
        cancels = self._rules.models.fresh(turn.url) is not None and self._cancels.get(turn.url, False)
        left_s = turn.left_s()
        call = Call(turn.url, "ModelInfer", request, left_s if cancels else left_s + GIVE_UP_S, headers)
        hold.is_sent = True
        try:
            reply = self._calls.start(call, hold.end)
        except BaseException:  # it may have been sent when Ctrl-C came
            hold.end(answered=False)
            raise
        try:
            if not (yield Wait((reply,), turn.left_s())):
                raise turn.expired()
        finally:
            if not reply.done() and cancels:
                reply.cancel_call()
        return reply.result()

    def _take_place(self, turn: Turn) -> Flow[None]:
        place = self._places.take(turn.url)
        if place.done():
            return
        granted = False
        try:
            granted = yield Wait((place,), turn.left_s())
        finally:
            if not granted:
                self._places.refuse(turn.url, place)
        if not granted:
            raise DeadlineExceeded(
                f"{turn.url}: max_in_flight: no request of this client came to an end in time"
            )

    def _model_of(self, turn: Turn) -> Flow[ModelInfo]:
        return self._rules.models.fresh(turn.url) or (yield from self._read_model(turn))

    def _read_model(self, turn: Turn) -> Flow[ModelInfo]:
        server = yield from self._read(turn, pb.ServerMetadataRequest())
        self._cancels[turn.url] = cancels_safely(server.get("version", ""))
        metadata = yield from self._read(turn, pb.ModelMetadataRequest(name=ENSEMBLE.name))
        config = (yield from self._read(turn, pb.ModelConfigRequest(name=ENSEMBLE.name))).get("config", {})
        return self._rules.models.learned(turn.url, model_info(metadata, config, self._rules.operating_point))

    def _read(self, turn: Turn, request: Message) -> Flow[dict[str, Any]]:
        method = type(request).__name__.removesuffix("Request")
        call = Call(turn.url, method, request, turn.left_s(), self._rules.headers)
        reply = yield from self._calls.made(call)
        found: dict[str, Any] = MessageToDict(reply, preserving_proto_field_name=True)
        return found

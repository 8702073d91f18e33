"""Connections of one client to its servers, and the calls that are on their way."""

from __future__ import annotations

import atexit
import concurrent.futures
import os
import threading
import weakref
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any

from deepfake_triton.client.protocol.exchange import CLOSE_TIMEOUT_S
from deepfake_triton.client.protocol.steps import Call
from deepfake_triton.client.sending.connection import Connection, Reply
from deepfake_triton.client.wire.connection_options import ConnectionOptions
from deepfake_triton.errors import ServerUnreachable

_OPEN: weakref.WeakSet[ConnectionPool] = weakref.WeakSet()
os.register_at_fork(after_in_child=_OPEN.clear)


@atexit.register
def _wait_at_exit() -> None:
    """Let the calls of clients that nobody closed come to an end; a process that ends starts no others."""
    replies = [reply for connections in list(_OPEN) for reply in connections.in_flight()]
    concurrent.futures.wait(replies, CLOSE_TIMEOUT_S)


class ConnectionPool:
    """Starts calls of one client. Usable from many threads and event loops."""

    def __init__(self, urls: Sequence[str], options: ConnectionOptions) -> None:
        """Raises PermissionDenied when a certificate file is missing."""
        self.process_id = os.getpid()
        self._connections = {url: Connection(url, options) for url in urls}
        self._is_closing = False
        self._in_flight: set[Future[Any]] = set()
        self.drained: Future[None] = Future()
        """Done once the client closes and no call is on its way."""
        self._lock = threading.Lock()
        _OPEN.add(self)

    def start(self, call: Call) -> Reply:
        """Start a call, and leave the release of its lease to the call's end. Raises ServerUnreachable on a
        closed client."""
        if call.lease is not None:
            call.lease.transfer()
        try:
            return self._start(call)
        except BaseException:  # it may have been sent when Ctrl-C came
            if call.lease is not None:
                call.lease.release(answered=False)
            raise

    def in_flight(self) -> tuple[Future[Any], ...]:
        """Return the replies that are still to come, also those that nobody waits for."""
        with self._lock:
            return tuple(self._in_flight)

    def begin_close(self) -> bool:
        """Refuse further calls but cleanup; False when another caller has begun already."""
        with self._lock:
            if self._is_closing:
                return False
            self._is_closing = True
            if not self._in_flight:
                self.drained.set_result(None)
            return True

    def close(self) -> None:
        """Close the connections, and end the calls that are still on their way."""
        for connection in self._connections.values():
            connection.close()
        _OPEN.discard(self)

    def _start(self, call: Call) -> Reply:
        reply = Reply()
        with self._lock:  # whoever closes sees this call, or this one sees that
            if self._is_closing and not call.cleanup:
                raise ServerUnreachable(f"{call.url}: this client was closed")
            self._in_flight.add(reply)
        reply.add_done_callback(self._discard)
        try:
            self._connections[call.url].start(call, reply)
        except ServerUnreachable as error:
            reply.set_exception(error)
            raise
        return reply

    def _discard(self, reply: Future[Any]) -> None:
        with self._lock:
            self._in_flight.discard(reply)
            if self._is_closing and not self._in_flight and not self.drained.done():
                self.drained.set_result(None)
